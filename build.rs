//! Nothing to generate before the protocol definitions are there.

fn main() {}
