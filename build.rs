//! Compiles `proto/` with a compiler written in Rust, so that nothing has to be installed to build.

use std::error::Error;
use std::path::PathBuf;

/// Name of the compiled file descriptors in `OUT_DIR`.
const DESCRIPTORS: &str = "bigquery_storage.bin";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).open_file("storage.proto")?;
    std::fs::write(out.join(DESCRIPTORS), compiler.encode_file_descriptor_set())?;
    tonic_prost_build::configure()
        .build_client(true)
        .build_server(true)
        // Rows are slices of one encoded buffer.
        .bytes(".google.cloud.bigquery.storage.v1.ProtoRows")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
