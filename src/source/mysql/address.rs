//! MariaDB's UUID, INET4 and INET6: bytes in the log, where they look like BINARY, and text in a SELECT. The
//! text is made here as the server makes it, which for IPv6 is not quite the canonical form, so that both ways give one value
//! (<https://mariadb.com/kb/en/uuid-data-type/>, <https://mariadb.com/kb/en/inet6/>).

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

/// One of the three types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Address {
    Uuid,
    Inet4,
    Inet6,
}

impl Address {
    /// The type of a declaration.
    pub(crate) fn parse(declared: &str) -> Option<Address> {
        Some(match declared {
            "uuid" => Address::Uuid,
            "inet4" => Address::Inet4,
            "inet6" => Address::Inet6,
            _ => return None,
        })
    }

    /// As it is declared.
    pub(crate) fn declared(self) -> &'static str {
        match self {
            Address::Uuid => "uuid",
            Address::Inet4 => "inet4",
            Address::Inet6 => "inet6",
        }
    }

    /// Bytes of a value.
    pub(crate) fn bytes(self) -> u16 {
        match self {
            Address::Uuid | Address::Inet6 => 16,
            Address::Inet4 => 4,
        }
    }

    /// Appends the text of a value; `None` if it is longer than one. The log leaves off trailing zeros.
    pub(crate) fn write(self, bytes: &[u8], into: &mut String) -> Option<()> {
        match self {
            Address::Inet4 => write!(into, "{}", Ipv4Addr::from(whole::<4>(bytes)?)).ok(),
            Address::Inet6 => write_inet6(whole(bytes)?, into),
            Address::Uuid => {
                let text = format!("{:032x}", u128::from_be_bytes(whole(bytes)?));
                let mut rest = text.as_str();
                for (index, digits) in [8, 4, 4, 4, 12].into_iter().enumerate() {
                    let (group, after) = rest.split_at_checked(digits)?;
                    if index > 0 {
                        into.push('-');
                    }
                    into.push_str(group);
                    rest = after;
                }
                Some(())
            }
        }
    }
}

fn whole<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    let mut whole = [0; N];
    whole.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(whole)
}

/// Groups of 16 bits, the first longest run of zeros as `::`, even one of a single zero; after `::` or
/// `::ffff:` the last two groups are an IPv4 address.
fn write_inet6(bytes: [u8; 16], into: &mut String) -> Option<()> {
    let address = Ipv6Addr::from(bytes);
    let groups = address.segments();
    let (gap, zeros) = longest_zeros(&groups);
    let (front, rest) = groups.split_at_checked(gap)?;
    let behind = rest.get(zeros..)?;
    let mapped = zeros == 5 && behind.first() == Some(&0xffff);
    if gap == 0 && (zeros == 6 || mapped) {
        let [.., a, b, c, d] = bytes;
        into.push_str(if mapped { "::ffff:" } else { "::" });
        return write!(into, "{}", Ipv4Addr::new(a, b, c, d)).ok();
    }
    write_groups(front, into)?;
    if zeros > 0 {
        into.push_str("::");
    }
    write_groups(behind, into)
}

/// Where the first longest run of zeros begins, and its length.
fn longest_zeros(groups: &[u16; 8]) -> (usize, usize) {
    let mut longest = (0, 0);
    let mut begin = 0;
    for (index, group) in groups.iter().enumerate() {
        if *group != 0 {
            begin = index + 1;
        } else if index + 1 - begin > longest.1 {
            longest = (begin, index + 1 - begin);
        }
    }
    longest
}

fn write_groups(groups: &[u16], into: &mut String) -> Option<()> {
    for (index, group) in groups.iter().enumerate() {
        let colon = if index > 0 { ":" } else { "" };
        write!(into, "{colon}{group:x}").ok()?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(address: Address, bytes: &[u8]) -> Option<String> {
        let mut text = String::new();
        address.write(bytes, &mut text).map(|()| text)
    }

    #[test]
    fn text_is_the_servers() {
        let uuid = b"\x12\x3e\x45\x67\xe8\x9b\x12\xd3\xa4\x56\x42\x66\x55\x44";
        for (address, bytes, expected) in [
            (Address::Uuid, &uuid[..], "123e4567-e89b-12d3-a456-426655440000"),
            (Address::Uuid, b"", "00000000-0000-0000-0000-000000000000"),
            (Address::Inet4, b"\xff\x00\x01", "255.0.1.0"),
            (Address::Inet6, b"", "::"),
            (
                Address::Inet6,
                b"\0\0\0\0\0\0\0\0\0\0\0\0\x01\x02\x03\x04",
                "::1.2.3.4",
            ),
            (
                Address::Inet6,
                b"\0\0\0\0\0\0\0\0\0\0\xff\xff\x01\x02\x03\x04",
                "::ffff:1.2.3.4",
            ),
            (
                Address::Inet6,
                b"\x20\x01\x0d\xb8\0\0\0\0\0\x01\0\0\0\0\0\x01",
                "2001:db8::1:0:0:1",
            ),
        ] {
            assert_eq!(text(address, bytes).as_deref(), Some(expected));
        }
    }

    #[test]
    fn too_many_bytes_are_no_value() {
        assert_eq!(text(Address::Inet4, b"12345"), None);
        assert_eq!(text(Address::Uuid, &[0; 17]), None);
        assert_eq!(text(Address::Inet6, &[0; 17]), None);
    }
}
