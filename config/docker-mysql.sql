-- The user that the replicator connects as, with what it needs and no more, and a table to look at.
CREATE USER 'replicator'@'%' IDENTIFIED BY 'replicator';
GRANT REPLICATION SLAVE, REPLICATION CLIENT, XA_RECOVER_ADMIN, SELECT ON *.* TO 'replicator'@'%';
CREATE DATABASE shop;
CREATE TABLE shop.orders (
  id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  customer VARCHAR(100) NOT NULL,
  total DECIMAL(12, 2) NOT NULL,
  details JSON,
  ordered_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
);
INSERT INTO shop.orders (customer, total, details) VALUES ('ada', 12.50, '{"gift": true}'), ('grace', 99.00, NULL);
