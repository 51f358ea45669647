//! The body of a Query event (type 2): which session ran which statement. Own parser: the status
//! variables decide how the text is read (`sql_mode`, character set), and a variable that this version
//! does not know must not hide the rest, which is found by the block's length
//! (<https://dev.mysql.com/doc/dev/mysql-server/latest/classmysql_1_1binlog_1_1event_1_1Query__event.html>).

use bytes::Bytes;

/// A Query event, without header and checksum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryEvent {
    /// The session's connection id.
    pub thread: u32,
    /// Error that the statement ended with, 0 for none.
    pub error: u16,
    /// The session's default schema; empty without one.
    pub schema: String,
    /// `sql_mode` bits; 0 if the event does not tell.
    pub sql_mode: u64,
    /// Collation id of `character_set_client`, which the statement's bytes are in.
    pub charset_client: Option<u16>,
    /// The statement's bytes.
    pub statement: Bytes,
}

/// Bytes that are no Query event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a Query event is cut short or its lengths do not fit")]
pub struct MalformedQuery;

impl QueryEvent {
    /// Reads the body of an event.
    ///
    /// # Errors
    /// [`MalformedQuery`]: lengths that exceed the body.
    pub fn parse(body: &Bytes) -> Result<QueryEvent, MalformedQuery> {
        let mut fixed = Reader(body);
        let thread = fixed.u32()?;
        fixed.take(4)?;
        let schema_length = usize::from(fixed.u8()?);
        let error = fixed.u16()?;
        let status_length = usize::from(fixed.u16()?);
        let status = fixed.take(status_length)?;
        let schema = String::from_utf8_lossy(fixed.take(schema_length)?).into_owned();
        if fixed.u8()? != 0 {
            return Err(MalformedQuery);
        }
        let statement = body.slice(body.len() - fixed.0.len()..);
        let (sql_mode, charset_client) = status_variables(status);
        Ok(QueryEvent {
            thread,
            error,
            schema,
            sql_mode,
            charset_client,
            statement,
        })
    }

    /// The statement's text; `None` where its character set is not known here and it is not plain ASCII.
    pub fn text(&self) -> Option<String> {
        if self.statement.is_ascii() {
            return Some(String::from_utf8_lossy(&self.statement).into_owned());
        }
        let encoding = match self.charset_client.unwrap_or(255) {
            1 | 84 => encoding_rs::BIG5,
            12 | 91 | 97 | 98 => encoding_rs::EUC_JP,
            13 | 88 | 95 | 96 => encoding_rs::SHIFT_JIS,
            19 | 85 => encoding_rs::EUC_KR,
            24 | 86 | 28 | 87 => encoding_rs::GBK,
            5 | 8 | 15 | 31 | 47..=49 | 94 => encoding_rs::WINDOWS_1252,
            248..=250 => encoding_rs::GB18030,
            33 | 45 | 46 | 76 | 83 | 192..=215 | 223..=247 | 255..=323 | 576..=640 | 2048.. => {
                encoding_rs::UTF_8
            }
            _ => return None,
        };
        // Malformed characters can stand in strings only (the server checks names), so they are replaced.
        Some(
            encoding
                .decode_without_bom_handling(&self.statement)
                .0
                .into_owned(),
        )
    }
}

/// `sql_mode` and the client's collation. Variables come in ascending order of their codes in every
/// known version, so these two come before anything of unknown length.
fn status_variables(block: &[u8]) -> (u64, Option<u16>) {
    let mut reader = Reader(block);
    let (mut sql_mode, mut charset) = (0, None);
    while let Ok(code) = reader.u8() {
        let skipped = match code {
            // Q_FLAGS2
            0 => reader.take(4).map(|_| ()),
            // Q_SQL_MODE
            1 => reader.u64().map(|bits| sql_mode = bits),
            // Q_CATALOG: length, text, NUL
            2 => reader
                .u8()
                .and_then(|length| reader.take(usize::from(length) + 1).map(|_| ())),
            // Q_AUTO_INCREMENT
            3 => reader.take(4).map(|_| ()),
            // Q_CHARSET: client, connection, server
            4 => reader.u16().and_then(|client| {
                charset = Some(client);
                reader.take(4).map(|_| ())
            }),
            // Q_TIME_ZONE, Q_CATALOG_NZ: length, text
            5 | 6 => reader
                .u8()
                .and_then(|length| reader.take(usize::from(length)).map(|_| ())),
            _ => return (sql_mode, charset),
        };
        if skipped.is_err() {
            break;
        }
    }
    (sql_mode, charset)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], MalformedQuery> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(MalformedQuery)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], MalformedQuery> {
        self.take(N)?.try_into().map_err(|_| MalformedQuery)
    }

    fn u8(&mut self) -> Result<u8, MalformedQuery> {
        self.array().map(u8::from_le_bytes)
    }

    fn u16(&mut self) -> Result<u16, MalformedQuery> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, MalformedQuery> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, MalformedQuery> {
        self.array().map(u64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn body(status: &[u8], schema: &str, statement: &[u8]) -> Bytes {
        let mut bytes = vec![7, 0, 0, 0, 1, 0, 0, 0];
        bytes.push(u8::try_from(schema.len()).unwrap());
        bytes.extend([0, 0]);
        bytes.extend(u16::try_from(status.len()).unwrap().to_le_bytes());
        bytes.extend(status);
        bytes.extend(schema.as_bytes());
        bytes.push(0);
        bytes.extend(statement);
        bytes.into()
    }

    #[test]
    fn status_variables_up_to_an_unknown_one() {
        let mut status = vec![0, 0, 0, 0, 0, 1];
        status.extend((1u64 << 20 | 4).to_le_bytes());
        status.extend([6, 3, b's', b't', b'd', 4, 33, 0, 33, 0, 8, 0, 200, 1, 2, 3]);
        let event = QueryEvent::parse(&body(&status, "shop", b"TRUNCATE t")).unwrap();
        assert_eq!(event.thread, 7);
        assert_eq!(event.schema, "shop");
        assert_eq!(event.sql_mode, 1 << 20 | 4);
        assert_eq!(event.charset_client, Some(33));
        assert_eq!(event.text().as_deref(), Some("TRUNCATE t"));
    }

    #[test]
    fn text_is_read_in_the_clients_character_set() {
        // 表 is 0x95 0x5C in Shift JIS: its second byte is a backslash to who reads bytes.
        let status = [4, 13, 0, 33, 0, 8, 0];
        let event = QueryEvent::parse(&body(&status, "", b"DROP TABLE `\x95\x5c`")).unwrap();
        assert_eq!(event.text().as_deref(), Some("DROP TABLE `表`"));
        let unknown = [4, 9, 0, 33, 0, 8, 0];
        let event = QueryEvent::parse(&body(&unknown, "", b"DROP TABLE \xe9")).unwrap();
        assert_eq!(event.text(), None);
    }

    #[test]
    fn a_cut_body_is_malformed() {
        let whole = body(&[0, 0, 0, 0, 0], "shop", b"");
        for length in 0..whole.len() {
            assert_eq!(
                QueryEvent::parse(&whole.slice(..length)),
                Err(MalformedQuery),
                "{length}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(event) = QueryEvent::parse(&Bytes::from(bytes)) {
                let _text = event.text();
            }
        }
    }
}
