//! Character sets that no library decodes as the servers do: every code with its character, as both servers
//! convert it, in a text file each. A test lets both servers convert every code and holds the files to it.
//!
//! A line is a run of codes that differ in their last byte only. `8140|　、。|`: the first code in hexadecimal
//! digits, then the characters. `80=00C7 ----`: the same with code points, `----` where there is none; for
//! sets of one byte, where some characters are controls.

use std::collections::HashSet;
use std::sync::OnceLock;

/// The byte that leads codes of three bytes in `ujis` and `eucjpms`.
const THREE_BYTES: u8 = 0x8f;

/// The codes of a set above ASCII, which every one of these sets contains.
pub(crate) struct Codes {
    name: &'static str,
    text: &'static str,
    table: OnceLock<Table>,
}

/// Characters by code, NUL where there is none: NUL itself is ASCII.
struct Table {
    one: Vec<char>,
    two: Vec<char>,
    /// By the two bytes after the first.
    three: Vec<char>,
    /// Codes of characters that have a lower one, too.
    doubled: HashSet<Code>,
}

impl Codes {
    pub(super) const fn new(name: &'static str, text: &'static str) -> Codes {
        Codes {
            name,
            text,
            table: OnceLock::new(),
        }
    }

    /// Decodes into `out`; `None` at the first code that is no character.
    pub(super) fn decode<'a>(&self, bytes: &[u8], out: &'a mut String) -> Option<&'a str> {
        let table = self.table();
        out.clear();
        let mut rest = bytes;
        while !rest.is_empty() {
            out.push(table.next(&mut rest)?.0);
        }
        Some(out)
    }

    /// Whether a character of the text has a lower code, too: then there is another text of other bytes
    /// that decodes to the same.
    pub(super) fn is_doubled(&self, bytes: &[u8]) -> bool {
        let table = self.table();
        let mut rest = bytes;
        while !rest.is_empty() {
            match table.next(&mut rest) {
                Some((_, code)) if !table.doubled.contains(&code) => {}
                Some(_) | None => return true,
            }
        }
        false
    }

    fn table(&self) -> &Table {
        self.table.get_or_init(|| Table::read(self.text))
    }
}

impl std::fmt::Debug for Codes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Codes").field(&self.name).finish()
    }
}

impl PartialEq for Codes {
    fn eq(&self, other: &Codes) -> bool {
        self.name == other.name
    }
}

impl Eq for Codes {}

/// A code: 0, 1 or 2 for its length of one, two or three bytes, and the bytes that tell it from others of
/// its length.
type Code = (u8, u16);

impl Table {
    fn read(text: &str) -> Table {
        let mut table = Table {
            one: vec!['\0'; 0x100],
            two: Vec::new(),
            three: Vec::new(),
            doubled: HashSet::new(),
        };
        for line in text.lines() {
            if let Some((code, run)) = line.split_once('|') {
                table.fill(code, run.strip_suffix('|').unwrap_or(run).chars());
            } else if let Some((code, run)) = line.split_once('=') {
                let point = |text: &str| u32::from_str_radix(text, 16).ok().and_then(char::from_u32);
                table.fill(code, run.split(' ').map(|text| point(text).unwrap_or('\0')));
            }
        }
        table.doubled = table.find_doubled();
        table
    }

    fn find_doubled(&self) -> HashSet<Code> {
        let planes = (0_u8..).zip([&self.one, &self.two, &self.three]);
        let codes = planes.flat_map(|(length, plane)| {
            (0_u16..=u16::MAX)
                .zip(plane)
                .map(move |(code, letter)| ((length, code), *letter))
        });
        let mut seen = HashSet::new();
        codes
            .filter(|(_, letter)| *letter != '\0' && (letter.is_ascii() || !seen.insert(*letter)))
            .map(|(code, _)| code)
            .collect()
    }

    fn fill(&mut self, code: &str, run: impl Iterator<Item = char>) {
        let low = code.get(code.len().saturating_sub(4)..).unwrap_or(code);
        let Ok(first) = usize::from_str_radix(low, 16) else {
            return;
        };
        let plane = match code.len() {
            2 => &mut self.one,
            4 => &mut self.two,
            _ => &mut self.three,
        };
        if plane.is_empty() {
            plane.resize(0x1_0000, '\0');
        }
        for (slot, letter) in plane.iter_mut().skip(first).zip(run) {
            *slot = letter;
        }
    }

    /// Takes the next code off the front.
    fn next(&self, rest: &mut &[u8]) -> Option<(char, Code)> {
        let (lead, after) = rest.split_first()?;
        *rest = after;
        if lead.is_ascii() {
            return Some((char::from(*lead), (0, u16::from(*lead))));
        }
        if let Some(letter) = found(&self.one, u16::from(*lead)) {
            return Some((letter, (0, u16::from(*lead))));
        }
        let (length, plane, code, after) = match after {
            [a, b, after @ ..] if *lead == THREE_BYTES && !self.three.is_empty() => {
                (2, &self.three, [*a, *b], after)
            }
            [a, after @ ..] => (1, &self.two, [*lead, *a], after),
            [] => return None,
        };
        *rest = after;
        let code = u16::from_be_bytes(code);
        Some((found(plane, code)?, (length, code)))
    }
}

fn found(plane: &[char], code: u16) -> Option<char> {
    plane
        .get(usize::from(code))
        .copied()
        .filter(|letter| *letter != '\0')
}

macro_rules! codes {
    ($($constant:ident $name:literal)*) => {
        $(pub(super) static $constant: Codes =
            Codes::new($name, include_str!(concat!($name, ".txt")));)*
    };
}

codes! {
    ARMSCII8 "armscii8"
    BIG5 "big5"
    CP1256 "cp1256"
    CP850 "cp850"
    CP852 "cp852"
    CP866 "cp866"
    DEC8 "dec8"
    EUCJPMS "eucjpms"
    GB2312 "gb2312"
    GEOSTD8 "geostd8"
    GREEK "greek"
    HEBREW "hebrew"
    HP8 "hp8"
    KEYBCS2 "keybcs2"
    KOI8U "koi8u"
    LATIN5 "latin5"
    LATIN7 "latin7"
    MACCE "macce"
    MACROMAN "macroman"
    SJIS "sjis"
    TIS620 "tis620"
    UJIS "ujis"
}
