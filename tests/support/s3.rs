//! An S3 server that others wrote: moto, on a free port, with one bucket, gone with its owner.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use object_store::ObjectStoreExt;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use replicator::clock::Clock;

use super::python::python;

/// The bucket's name.
pub const BUCKET: &str = "checkpoints";

/// A server that runs.
#[derive(Debug)]
pub struct S3 {
    child: Child,
    /// Its address.
    pub url: String,
}

impl S3 {
    /// Starts it and makes the bucket.
    pub async fn start() -> S3 {
        let python = python("s3");
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a free port")
            .port();
        let child = Command::new(python)
            .args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("moto starts");
        let server = S3 {
            child,
            url: format!("http://127.0.0.1:{port}"),
        };
        let client = reqwest::Client::new();
        for _ in 0..240 {
            let made = client.put(format!("{}/{BUCKET}", server.url)).send().await;
            if made.is_ok_and(|made| made.status().is_success()) {
                return server;
            }
            Clock::real().sleep(Duration::from_millis(250)).await;
        }
        panic!("moto does not answer");
    }

    /// What the SDKs read from the environment to find it.
    pub fn environment(&self) -> [(&'static str, &str); 4] {
        [
            ("AWS_ENDPOINT_URL", &self.url),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_REGION", "us-east-1"),
        ]
    }

    fn objects(&self) -> AmazonS3 {
        AmazonS3Builder::new()
            .with_endpoint(&self.url)
            .with_allow_http(true)
            .with_bucket_name(BUCKET)
            .with_region("us-east-1")
            .with_access_key_id("test")
            .with_secret_access_key("test")
            .build()
            .expect("a client")
    }

    /// An object's bytes.
    pub async fn read(&self, path: &str) -> Bytes {
        let found = self.objects().get(&path.into()).await.expect("it is there");
        found.bytes().await.expect("it can be read")
    }

    /// Replaces an object, whatever it is.
    pub async fn write(&self, path: &str, text: String) {
        self.objects()
            .put(&path.into(), text.into())
            .await
            .expect("it can be written");
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
