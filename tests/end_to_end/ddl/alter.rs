//! Statements that change the columns of one table. `T` is the table; without a CREATE of its own it is
//! [`super::suite::BASE`].

use super::suite::Case;

pub(super) const CASES: &[Case] = &[
    ("add", &["ALTER TABLE T ADD COLUMN x INT"]),
    (
        "add_places",
        &[
            "ALTER TABLE T ADD COLUMN x INT FIRST",
            "ALTER TABLE T ADD y INT AFTER n",
        ],
    ),
    (
        "add_several",
        &["ALTER TABLE T ADD x INT, ADD COLUMN y TEXT, ADD z DATE AFTER id"],
    ),
    (
        "add_list",
        &["ALTER TABLE T ADD COLUMN (x INT, y VARCHAR(5) DEFAULT 'q')"],
    ),
    (
        "add_default",
        &[
            "ALTER TABLE T ADD x INT DEFAULT 5",
            "ALTER TABLE T ADD y DATETIME(3) DEFAULT '2020-01-02 03:04:05.678'",
        ],
    ),
    (
        "add_not_null",
        &[
            "ALTER TABLE T ADD x INT NOT NULL",
            "ALTER TABLE T ADD y VARCHAR(9) NOT NULL",
        ],
    ),
    (
        "add_not_null_default",
        &["ALTER TABLE T ADD x DECIMAL(5,2) NOT NULL DEFAULT 1.5, ADD y ENUM('p','q') NOT NULL"],
    ),
    (
        "add_expression",
        &["ALTER TABLE T ADD x VARCHAR(40) DEFAULT (CONCAT('v', 1 + 2))"],
    ),
    (
        "add_timestamp",
        &["ALTER TABLE T ADD x TIMESTAMP NOT NULL DEFAULT '2021-03-04 05:06:07' ON UPDATE CURRENT_TIMESTAMP"],
    ),
    ("add_virtual", &["ALTER TABLE T ADD x INT AS (n * 2) VIRTUAL"]),
    (
        "add_stored",
        &["ALTER TABLE T ADD x INT GENERATED ALWAYS AS (id + IFNULL(n, 0)) STORED"],
    ),
    (
        "change_stored",
        &[
            "ALTER TABLE T ADD x INT AS (id * 2) STORED",
            "ALTER TABLE T MODIFY x INT AS (id * 3) STORED",
        ],
    ),
    (
        "add_invisible",
        &[
            "ALTER TABLE T ADD x INT DEFAULT 3 INVISIBLE",
            "ALTER TABLE T ALTER COLUMN x SET VISIBLE",
        ],
    ),
    (
        "add_instant",
        &["ALTER TABLE T ADD x INT DEFAULT 9, ALGORITHM = INSTANT"],
    ),
    (
        "add_inplace",
        &["ALTER TABLE T ADD x INT DEFAULT 9, ALGORITHM = INPLACE, LOCK = NONE"],
    ),
    (
        "add_copy",
        &["ALTER TABLE T ADD x INT DEFAULT 9, ALGORITHM = COPY"],
    ),
    (
        "add_auto_increment",
        &["ALTER TABLE T ADD x INT NOT NULL AUTO_INCREMENT UNIQUE"],
    ),
    (
        "add_json",
        &[
            "ALTER TABLE T ADD x JSON",
            "UPDATE T SET x = JSON_OBJECT('id', id)",
            "ALTER TABLE T ADD y JSON DEFAULT (JSON_ARRAY(1, 'é'))",
        ],
    ),
    (
        "add_and_fill",
        &[
            "ALTER TABLE T ADD x INT",
            "UPDATE T SET x = id * 7",
            "ALTER TABLE T MODIFY x INT NOT NULL",
        ],
    ),
    (
        "add_in_turn",
        &[
            "ALTER TABLE T ADD x1 INT",
            "ALTER TABLE T ADD x2 INT",
            "ALTER TABLE T ADD x3 INT NOT NULL DEFAULT 1",
            "ALTER TABLE T ADD x4 INT",
            "ALTER TABLE T ADD x5 INT",
        ],
    ),
    (
        "add_reserved",
        &["ALTER TABLE T ADD `select` INT, ADD `table` INT, ADD `GROUP` INT"],
    ),
    ("drop", &["ALTER TABLE T DROP COLUMN a"]),
    ("drop_two", &["ALTER TABLE T DROP a, DROP COLUMN b"]),
    ("drop_and_add", &["ALTER TABLE T DROP a, ADD x INT DEFAULT 4"]),
    (
        "drop_come_back",
        &["ALTER TABLE T DROP a", "ALTER TABLE T ADD a INT"],
    ),
    (
        "drop_come_back_default",
        &["ALTER TABLE T DROP a", "ALTER TABLE T ADD a INT DEFAULT 8"],
    ),
    (
        "drop_come_back_other",
        &[
            "ALTER TABLE T DROP a",
            "ALTER TABLE T ADD a DATE DEFAULT '2020-01-01'",
        ],
    ),
    (
        "drop_come_back_at_once",
        &["ALTER TABLE T DROP a, ADD a INT DEFAULT 6"],
    ),
    (
        "drop_come_back_at_once_other",
        &["ALTER TABLE T DROP a, ADD a VARCHAR(9) DEFAULT 'new'"],
    ),
    (
        "drop_many_times",
        &[
            "ALTER TABLE T DROP a",
            "ALTER TABLE T ADD a INT",
            "ALTER TABLE T DROP a",
            "ALTER TABLE T ADD a TEXT",
            "ALTER TABLE T DROP a",
            "ALTER TABLE T ADD a INT DEFAULT 1",
        ],
    ),
    ("rename", &["ALTER TABLE T RENAME COLUMN a TO x"]),
    ("rename_change", &["ALTER TABLE T CHANGE a x INT"]),
    (
        "rename_widen",
        &[
            "UPDATE T SET a = 0 WHERE a IS NULL",
            "ALTER TABLE T CHANGE COLUMN a x BIGINT NOT NULL DEFAULT 0",
        ],
    ),
    ("rename_type", &["ALTER TABLE T CHANGE a x VARCHAR(30)"]),
    (
        "rename_two",
        &["ALTER TABLE T RENAME COLUMN a TO x, RENAME COLUMN b TO y"],
    ),
    (
        "rename_swap",
        &["ALTER TABLE T RENAME COLUMN n TO a, RENAME COLUMN a TO n"],
    ),
    (
        "rename_circle",
        &[
            "ALTER TABLE T ADD x INT, ADD y INT",
            "UPDATE T SET x = id, y = -id",
            "ALTER TABLE T RENAME COLUMN a TO x, RENAME COLUMN x TO y, RENAME COLUMN y TO a",
        ],
    ),
    (
        "rename_chain",
        &[
            "ALTER TABLE T RENAME COLUMN a TO a2",
            "ALTER TABLE T RENAME COLUMN n TO a",
            "ALTER TABLE T RENAME COLUMN a2 TO n",
        ],
    ),
    (
        "rename_chain_at_once",
        &["ALTER TABLE T RENAME COLUMN a TO z, RENAME COLUMN n TO a"],
    ),
    (
        "rename_and_add_old",
        &["ALTER TABLE T RENAME COLUMN a TO x, ADD a INT DEFAULT 2"],
    ),
    (
        "rename_then_add_old",
        &["ALTER TABLE T RENAME COLUMN a TO x", "ALTER TABLE T ADD a INT"],
    ),
    (
        "rename_to_dropped",
        &["ALTER TABLE T DROP b", "ALTER TABLE T RENAME COLUMN a TO b"],
    ),
    (
        "rename_over_dropped",
        &["ALTER TABLE T DROP n, RENAME COLUMN a TO n"],
    ),
    (
        "rename_case",
        &[
            "ALTER TABLE T RENAME COLUMN a TO A",
            "ALTER TABLE T CHANGE b B VARCHAR(20)",
        ],
    ),
    (
        "rename_back",
        &[
            "ALTER TABLE T RENAME COLUMN a TO x",
            "ALTER TABLE T RENAME COLUMN x TO a",
        ],
    ),
    (
        "rename_key",
        &[
            "ALTER TABLE T RENAME COLUMN id TO ident",
            "INSERT INTO T (ident, n) VALUES (777, 7)",
            "ALTER TABLE T RENAME COLUMN ident TO id",
        ],
    ),
    (
        "modify_wider",
        &[
            "ALTER TABLE T MODIFY a BIGINT",
            "ALTER TABLE T MODIFY b VARCHAR(200)",
        ],
    ),
    (
        "modify_narrower",
        &[
            "ALTER TABLE T MODIFY a SMALLINT",
            "ALTER TABLE T MODIFY b VARCHAR(19)",
        ],
    ),
    (
        "modify_unsigned",
        &[
            "ALTER TABLE T MODIFY a INT UNSIGNED",
            "ALTER TABLE T MODIFY a BIGINT UNSIGNED",
            "ALTER TABLE T MODIFY a BIGINT",
        ],
    ),
    (
        "modify_to_decimal",
        &[
            "ALTER TABLE T MODIFY a DECIMAL(20,3)",
            "ALTER TABLE T MODIFY a DECIMAL(50,10)",
        ],
    ),
    (
        "modify_to_text",
        &[
            "ALTER TABLE T MODIFY a VARCHAR(20)",
            "ALTER TABLE T MODIFY a TEXT",
            "ALTER TABLE T MODIFY a VARCHAR(30)",
        ],
    ),
    (
        "modify_to_number",
        &["UPDATE T SET b = id", "ALTER TABLE T MODIFY b INT"],
    ),
    (
        "modify_to_double",
        &[
            "ALTER TABLE T MODIFY a DOUBLE",
            "ALTER TABLE T MODIFY a FLOAT",
            "ALTER TABLE T MODIFY a INT",
        ],
    ),
    (
        "modify_text_kinds",
        &[
            "ALTER TABLE T MODIFY f MEDIUMTEXT",
            "ALTER TABLE T MODIFY f VARCHAR(500)",
            "ALTER TABLE T MODIFY f LONGTEXT",
        ],
    ),
    (
        "modify_charset",
        &[
            "ALTER TABLE T MODIFY b VARCHAR(20) CHARACTER SET latin1",
            "ALTER TABLE T MODIFY b VARCHAR(20) CHARACTER SET utf16",
            "ALTER TABLE T MODIFY f TEXT CHARACTER SET ucs2",
        ],
    ),
    (
        "modify_collation",
        &["ALTER TABLE T MODIFY b VARCHAR(20) COLLATE utf8mb4_bin"],
    ),
    (
        "modify_binary",
        &[
            "ALTER TABLE T MODIFY b VARBINARY(90)",
            "ALTER TABLE T MODIFY b BLOB",
            "ALTER TABLE T MODIFY b BINARY(30)",
        ],
    ),
    (
        "modify_scale",
        &[
            "ALTER TABLE T MODIFY c DECIMAL(12,4)",
            "ALTER TABLE T MODIFY c DECIMAL(12,1)",
            "ALTER TABLE T MODIFY c DECIMAL(60,4)",
        ],
    ),
    (
        "modify_times",
        &[
            "ALTER TABLE T MODIFY d DATETIME(6)",
            "ALTER TABLE T MODIFY d TIMESTAMP(3) NULL",
            "ALTER TABLE T MODIFY d DATETIME",
        ],
    ),
    (
        "modify_date",
        &["ALTER TABLE T MODIFY d DATE", "ALTER TABLE T MODIFY d DATETIME"],
    ),
    ("modify_enum_end", &["ALTER TABLE T MODIFY e ENUM('x','y','z')"]),
    (
        "modify_enum_middle",
        &[
            "ALTER TABLE T MODIFY e ENUM('x','new','y')",
            "UPDATE T SET e = 'new' WHERE id % 2",
        ],
    ),
    ("modify_enum_order", &["ALTER TABLE T MODIFY e ENUM('y','x')"]),
    (
        "modify_enum_text",
        &[
            "ALTER TABLE T MODIFY e VARCHAR(10)",
            "ALTER TABLE T MODIFY e SET('x','y')",
        ],
    ),
    (
        "modify_set",
        &[
            "ALTER TABLE T ADD s SET('a','b') DEFAULT 'a,b'",
            "ALTER TABLE T MODIFY s SET('c','a','b')",
            "ALTER TABLE T MODIFY s SET('a','b','c','d')",
        ],
    ),
    (
        "modify_not_null",
        &[
            "UPDATE T SET a = 0 WHERE a IS NULL",
            "ALTER TABLE T MODIFY a INT NOT NULL DEFAULT 0",
            "ALTER TABLE T MODIFY a INT NULL",
        ],
    ),
    (
        "modify_nulls_away",
        &[
            "SET sql_mode = ''",
            "UPDATE T SET a = NULL WHERE id % 3 = 0",
            "ALTER TABLE T MODIFY a INT NOT NULL",
        ],
    ),
    (
        "modify_cuts",
        &[
            "SET sql_mode = ''",
            "ALTER TABLE T MODIFY b VARCHAR(2)",
            "ALTER TABLE T MODIFY c TINYINT",
        ],
    ),
    (
        "modify_place",
        &[
            "ALTER TABLE T MODIFY a INT FIRST",
            "ALTER TABLE T MODIFY f TEXT AFTER id",
        ],
    ),
    (
        "modify_comment",
        &[
            "ALTER TABLE T MODIFY a INT COMMENT 'told'",
            "ALTER TABLE T COMMENT = 'a table'",
        ],
    ),
    (
        "modify_year_bit",
        &[
            "ALTER TABLE T ADD y YEAR DEFAULT 2020, ADD z BIT(5) DEFAULT b'101'",
            "ALTER TABLE T MODIFY y INT, MODIFY z BIT(20)",
            "ALTER TABLE T MODIFY z INT",
        ],
    ),
    (
        "modify_time",
        &[
            "ALTER TABLE T ADD t TIME DEFAULT '-12:34:56'",
            "ALTER TABLE T MODIFY t TIME(6)",
        ],
    ),
    (
        "modify_bool",
        &[
            "ALTER TABLE T ADD x TINYINT(1) DEFAULT 1",
            "ALTER TABLE T MODIFY x INT",
            "ALTER TABLE T MODIFY x BOOLEAN",
        ],
    ),
    (
        "modify_json_text",
        &[
            "ALTER TABLE T ADD j JSON DEFAULT (JSON_ARRAY(1))",
            "ALTER TABLE T MODIFY j TEXT",
            "ALTER TABLE T MODIFY j JSON",
        ],
    ),
    (
        "modify_key",
        &[
            "ALTER TABLE T MODIFY id BIGINT",
            "INSERT INTO T (id, n) VALUES (5000000000, 1)",
        ],
    ),
    (
        "default_only",
        &[
            "ALTER TABLE T ALTER COLUMN n SET DEFAULT 12",
            "ALTER TABLE T ALTER n DROP DEFAULT",
            "ALTER TABLE T MODIFY n INT DEFAULT 13",
        ],
    ),
    (
        "everything",
        &[
            "ALTER TABLE T ADD x INT NOT NULL DEFAULT 1 FIRST, DROP b, RENAME COLUMN a TO a2, MODIFY c DECIMAL(15,5), ADD INDEX (n), CHANGE f g TEXT, COMMENT 'x', ENGINE = InnoDB",
        ],
    ),
    (
        "everything_twice",
        &[
            "ALTER TABLE T DROP a, ADD z INT AFTER id, MODIFY e ENUM('y','x','w') FIRST",
            "ALTER TABLE T ADD a BIGINT DEFAULT 11, DROP z, RENAME COLUMN e TO z",
        ],
    ),
    (
        "indexes",
        &[
            "ALTER TABLE T ADD INDEX i (n), ADD UNIQUE u (id, n)",
            "CREATE INDEX j ON T (a)",
            "ALTER TABLE T RENAME INDEX i TO k",
            "DROP INDEX j ON T",
            "ALTER TABLE T ADD FULLTEXT (f)",
            "ALTER TABLE T ALTER INDEX k INVISIBLE",
        ],
    ),
    (
        "constraints",
        &[
            "ALTER TABLE T ADD CONSTRAINT chk_T CHECK (id > -1)",
            "ALTER TABLE T ALTER CHECK chk_T NOT ENFORCED",
            "ALTER TABLE T DROP CHECK chk_T",
        ],
    ),
    (
        "options",
        &[
            "ALTER TABLE T ENGINE = InnoDB",
            "ALTER TABLE T ROW_FORMAT = COMPRESSED",
            "ALTER TABLE T FORCE",
            "ALTER TABLE T AUTO_INCREMENT = 1000",
            "OPTIMIZE TABLE T",
            "ANALYZE TABLE T",
        ],
    ),
    ("order_by", &["ALTER TABLE T ORDER BY n, id"]),
    (
        "convert",
        &[
            "ALTER TABLE T CONVERT TO CHARACTER SET latin1",
            "ALTER TABLE T CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
        ],
    ),
    (
        "default_charset",
        &[
            "ALTER TABLE T DEFAULT CHARACTER SET latin1",
            "ALTER TABLE T ADD x VARCHAR(20) DEFAULT 'ÿ'",
        ],
    ),
    (
        "same_key",
        &["ALTER TABLE T DROP PRIMARY KEY, ADD PRIMARY KEY (id)"],
    ),
    (
        "key_descending",
        &["ALTER TABLE T DROP PRIMARY KEY, ADD PRIMARY KEY (id DESC)"],
    ),
];
