//! The URL of a MySQL server. It is taken apart where it was written: text that `${…}` puts into the
//! user or the password stands for itself, whatever characters it holds.

use super::error::Mistakes;
use super::secret::Secret;
use super::template::{Piece, Template};

/// What a URL says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct MysqlUrl {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) user: String,
    pub(super) password: Secret,
}

const SCHEME: &str = "mysql://";
const DEFAULT_PORT: u16 = 3306;
const FORM: &str = "write mysql://user:password@host:port";

/// Reads a URL; each mistake is noted under `key`, and none quotes the URL.
pub(super) fn parse(template: &Template, key: &str, mistakes: &mut Mistakes) -> Option<MysqlUrl> {
    match take_apart(template) {
        Ok(url) => Some(url),
        Err((what, cure)) => {
            mistakes.add(key, what, cure);
            None
        }
    }
}

type Refusal = (&'static str, &'static str);

fn take_apart(template: &Template) -> Result<MysqlUrl, Refusal> {
    let written_out = template
        .pieces
        .first()
        .is_some_and(|piece| matches!(piece, Piece::Literal(text) if text.starts_with(SCHEME)));
    // A URL that comes as a whole from one place is an ordinary one.
    let pieces = if written_out {
        template.pieces.clone()
    } else {
        vec![Piece::Literal(template.text())]
    };
    let rest = strip_scheme(pieces)?;
    let Some((login, address)) = split_last(rest, '@') else {
        return Err(("the URL names no user", FORM));
    };
    let (user, password) = match split_first(login.clone(), ':') {
        Some(both) => both,
        None => (login, Vec::new()),
    };
    let user = decode(&user)?;
    if user.is_empty() {
        return Err(("the URL names no user", FORM));
    }
    let password = match password.as_slice() {
        [Piece::File { path, .. }] => Secret::file(path),
        pieces => Secret::text(decode(pieces)?),
    };
    let address: String = address.iter().map(Piece::text).collect();
    let (host, port) = read_address(&address)?;
    Ok(MysqlUrl {
        host,
        port,
        user,
        password,
    })
}

fn strip_scheme(mut pieces: Vec<Piece>) -> Result<Vec<Piece>, Refusal> {
    if let Some(Piece::Literal(text)) = pieces.first_mut()
        && let Some(rest) = text.strip_prefix(SCHEME)
    {
        *text = rest.to_owned();
        return Ok(pieces);
    }
    Err(("the URL does not begin with mysql://", FORM))
}

fn split_first(pieces: Vec<Piece>, at: char) -> Option<(Vec<Piece>, Vec<Piece>)> {
    let number = pieces.iter().position(|piece| holds(piece, at))?;
    cut(pieces, number, |text| text.split_once(at))
}

fn split_last(pieces: Vec<Piece>, at: char) -> Option<(Vec<Piece>, Vec<Piece>)> {
    let number = pieces.iter().rposition(|piece| holds(piece, at))?;
    cut(pieces, number, |text| text.rsplit_once(at))
}

fn holds(piece: &Piece, c: char) -> bool {
    matches!(piece, Piece::Literal(text) if text.contains(c))
}

fn cut(
    mut pieces: Vec<Piece>,
    number: usize,
    split: impl Fn(&str) -> Option<(&str, &str)>,
) -> Option<(Vec<Piece>, Vec<Piece>)> {
    let tail = pieces.split_off(number + 1);
    let whole = pieces.pop()?;
    let (before, after) = split(whole.text())?;
    if !before.is_empty() {
        pieces.push(Piece::Literal(before.to_owned()));
    }
    let mut behind = Vec::new();
    if !after.is_empty() {
        behind.push(Piece::Literal(after.to_owned()));
    }
    behind.extend(tail);
    Some((pieces, behind))
}

/// Percent-decodes what was written and takes what was put in as it is.
fn decode(pieces: &[Piece]) -> Result<String, Refusal> {
    let mut out = String::new();
    for piece in pieces {
        match piece {
            Piece::Literal(text) => out.push_str(&percent_decode(text)?),
            Piece::Variable(text) | Piece::File { text, .. } => out.push_str(text),
        }
    }
    Ok(out)
}

fn percent_decode(text: &str) -> Result<String, Refusal> {
    let refusal = (
        "a % in the URL's user or password is not followed by two hexadecimal digits of UTF-8",
        "write %25 for a percent sign",
    );
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (Some(code), Some(rest)) = (part.get(..2), part.get(2..)) else {
            return Err(refusal);
        };
        if !code.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(refusal);
        }
        bytes.push(u8::from_str_radix(code, 16).map_err(|_| refusal)?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).map_err(|_| refusal)
}

fn read_address(address: &str) -> Result<(String, u16), Refusal> {
    if address.contains(['/', '?', '#']) {
        return Err((
            "the URL goes on after the port",
            "remove the path and the query: tables are chosen by `tables`, TLS by `tls`",
        ));
    }
    let (host, port) = match address.strip_prefix('[') {
        Some(rest) => {
            let (host, tail) = rest
                .split_once(']')
                .ok_or(("the URL's address has a [ without its ]", FORM))?;
            (
                host,
                tail.strip_prefix(':')
                    .or_else(|| (!tail.is_empty()).then_some("")),
            )
        }
        None => match address.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (address, None),
        },
    };
    let bracketed = address.starts_with('[');
    if host.is_empty() || host.contains(char::is_whitespace) || (!bracketed && host.contains(':')) {
        return Err((
            "the URL's host is not a name or an address",
            "write a host name, an IPv4 address, or an IPv6 address in [ ]",
        ));
    }
    let port = match port {
        None => DEFAULT_PORT,
        Some(text) => match text.parse::<u16>() {
            Ok(port) if port > 0 && text.bytes().all(|digit| digit.is_ascii_digit()) => port,
            _ => return Err(("the URL's port is not a number from 1 to 65535", FORM)),
        },
    };
    Ok((host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(url: &str, secret: &str) -> Result<MysqlUrl, Refusal> {
        let env = |name: &str| (name == "P").then(|| secret.to_owned());
        take_apart(&Template::fill(url, &env).unwrap())
    }

    #[test]
    fn what_a_url_says() {
        let url = |host: &str, port, user: &str, password: &str| MysqlUrl {
            host: host.to_owned(),
            port,
            user: user.to_owned(),
            password: Secret::text(password),
        };
        for (written, means) in [
            ("mysql://u:p@h:3307", url("h", 3307, "u", "p")),
            ("mysql://u:p@h", url("h", 3306, "u", "p")),
            ("mysql://u@h", url("h", 3306, "u", "")),
            ("mysql://u:@h", url("h", 3306, "u", "")),
            ("mysql://u%40x:p%3A%25%C3%A9@h", url("h", 3306, "u@x", "p:%é")),
            ("mysql://u:a@b@h", url("h", 3306, "u", "a@b")),
            ("mysql://u:a:b@h", url("h", 3306, "u", "a:b")),
            ("mysql://u:p@[::1]:3307", url("::1", 3307, "u", "p")),
            ("mysql://u:p@[::1]", url("::1", 3306, "u", "p")),
            ("mysql://u:x${P}y@h", url("h", 3306, "u", "x@:/%y")),
            ("mysql://${P}:p@h", url("h", 3306, "@:/%", "p")),
        ] {
            assert_eq!(read(written, "@:/%"), Ok(means), "{written}");
        }
        assert_eq!(
            read("${P}", "mysql://u:p%40@h:1"),
            Ok(url("h", 1, "u", "p@")),
            "a whole URL is an ordinary one"
        );
    }

    #[test]
    fn what_cannot_be_used() {
        for (written, what) in [
            ("postgres://u:p@h", "does not begin"),
            ("", "does not begin"),
            ("mysql://h:3306", "names no user"),
            ("mysql://:p@h", "names no user"),
            ("mysql://u:p@", "host"),
            ("mysql://u:p@h:", "port"),
            ("mysql://u:p@h:0", "port"),
            ("mysql://u:p@h:70000", "port"),
            ("mysql://u:p@h:+1", "port"),
            ("mysql://u:p@[::1", "without its ]"),
            ("mysql://u:p@[::1]x", "port"),
            ("mysql://u:p@::1", "host"),
            ("mysql://u:p@h/shop", "after the port"),
            ("mysql://u:p@h?ssl=1", "after the port"),
            ("mysql://u:p%4@h", "hexadecimal"),
            ("mysql://u:p%zz@h", "hexadecimal"),
            ("mysql://u:p%ff@h", "hexadecimal"),
        ] {
            let refusal = read(written, "").unwrap_err();
            assert!(refusal.0.contains(what), "{written}: {}", refusal.0);
        }
    }

    #[test]
    fn a_password_that_is_a_file_stays_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        std::fs::write(&path, "one\n").unwrap();
        let url = read(&format!("mysql://u:${{file:{}}}@h", path.display()), "").unwrap();
        assert_eq!(url.password.reveal().unwrap(), "one");
        std::fs::write(&path, "two\n").unwrap();
        assert_eq!(url.password.reveal().unwrap(), "two");
    }

    proptest! {
        #[test]
        fn no_url_panics_and_a_secret_arrives_whole(url in ".{0,40}", secret in ".{1,20}") {
            let _unused = read(&format!("mysql://{}", url.replace("${", "")), "");
            let read = read("mysql://u:${P}@h", &secret).unwrap();
            prop_assert_eq!(read.password.reveal().unwrap(), secret);
        }
    }
}
