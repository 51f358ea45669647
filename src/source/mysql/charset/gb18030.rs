//! `gb18030` as the servers have it, which is the standard of 2005: the Encoding Standard follows the one of 2022,
//! which gave some codes other characters, and takes a byte that is no code here for the euro sign.

use encoding_rs::{DecoderResult, GB18030};

/// Codes of two bytes that mean another character than in the Encoding Standard.
const OTHERS: [(u16, char); 19] = [
    (0xa3a0, '\u{e5e5}'),
    (0xa6d9, '\u{e78d}'),
    (0xa6da, '\u{e78e}'),
    (0xa6db, '\u{e78f}'),
    (0xa6dc, '\u{e790}'),
    (0xa6dd, '\u{e791}'),
    (0xa6de, '\u{e792}'),
    (0xa6df, '\u{e793}'),
    (0xa6ec, '\u{e794}'),
    (0xa6ed, '\u{e795}'),
    (0xa6f3, '\u{e796}'),
    (0xfe59, '\u{e81e}'),
    (0xfe61, '\u{e826}'),
    (0xfe66, '\u{e82b}'),
    (0xfe67, '\u{e82c}'),
    (0xfe6d, '\u{e832}'),
    (0xfe7e, '\u{e843}'),
    (0xfe90, '\u{e854}'),
    (0xfea0, '\u{e864}'),
];

/// Decodes into `out`; `None` if a code is no character.
pub(super) fn decode<'a>(bytes: &[u8], out: &'a mut String) -> Option<&'a str> {
    out.clear();
    // Bytes from here to `at` mean the same in both standards and are decoded in one go.
    let (mut from, mut at) = (0, 0);
    while let Some(lead) = bytes.get(at) {
        if *lead < 0x80 {
            at += 1;
            continue;
        }
        let trail = *bytes.get(at + 1)?;
        if *lead == 0x80 {
            return None;
        }
        if trail < 0x40 {
            at += 4;
            continue;
        }
        let code = u16::from_be_bytes([*lead, trail]);
        if let Some((_, letter)) = OTHERS.iter().find(|(other, _)| *other == code) {
            plain(bytes.get(from..at)?, out)?;
            out.push(*letter);
            from = at + 2;
        }
        at += 2;
    }
    plain(bytes.get(from..)?, out)?;
    Some(out)
}

fn plain(bytes: &[u8], out: &mut String) -> Option<()> {
    let mut decoder = GB18030.new_decoder_without_bom_handling();
    out.reserve(decoder.max_utf8_buffer_length_without_replacement(bytes.len())?);
    let (result, read) = decoder.decode_to_string_without_replacement(bytes, out, true);
    (result == DecoderResult::InputEmpty && read == bytes.len()).then_some(())
}
