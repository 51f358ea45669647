use std::sync::Mutex as StdMutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, PutMultipartOptions,
    PutPayload, PutResult, Result as Stored,
};

use super::*;
use crate::event::{BinlogCoord, Epoch, LogPosition, TxnStart};

/// What a server does with the next writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Writes, and the answer is lost.
    Unanswered,
    /// Does not write.
    Refused,
}

/// A bucket in memory whose writes fail as scripted.
#[derive(Debug, Clone, Default)]
struct Faulty {
    inner: Arc<InMemory>,
    script: Arc<StdMutex<Vec<Fault>>>,
    writes: Arc<AtomicUsize>,
}

impl std::fmt::Display for Faulty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("faulty")
    }
}

fn broken() -> Error {
    Error::Generic {
        store: "faulty",
        source: "scripted".into(),
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Stored<PutResult> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        let fault = self.script.lock().unwrap().pop();
        if fault == Some(Fault::Refused) {
            return Err(broken());
        }
        let done = self.inner.put_opts(path, payload, options).await?;
        match fault {
            Some(_) => Err(broken()),
            None => Ok(done),
        }
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Stored<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Stored<GetResult> {
        self.inner.get_opts(path, options).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Stored<Path>>) -> BoxStream<'static, Stored<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Stored<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Stored<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Stored<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

fn bucket(objects: &Faulty, clock: &Clock) -> Bucket {
    let (folder, place) = (Path::from("a/b"), "s3://bucket/a/b/shop.json".to_owned());
    Bucket::new(Arc::new(objects.clone()), &folder, place, "shop", clock.clone())
}

async fn owned(objects: &Faulty, clock: &Clock) -> BucketStore {
    let taken = Standby::new(bucket(objects, clock)).attempt().await;
    taken.unwrap().expect("nobody has it")
}

fn checkpoint(offset: u64) -> Checkpoint {
    let next = TxnStart {
        epoch: Epoch(7),
        coord: BinlogCoord { file: 3, offset },
    };
    let position = LogPosition {
        server: "s".into(),
        file_name: "binlog.000003".into(),
        file_born: 1,
        next,
        gtids: None,
        domains: None,
        last_event: None,
        prepared: Vec::new(),
        streams: Vec::new(),
    };
    Checkpoint::new("shop", position)
}

/// Lets the tasks run that a turn of the clock woke.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_was_saved_is_loaded_by_the_next_owner_and_no_earlier() {
    let (objects, clock) = (Faulty::default(), Clock::manual());
    let first = owned(&objects, &clock).await;
    assert_eq!(first.load().await, None);
    first.save(checkpoint(1)).await.unwrap();
    let mut waits = Standby::new(bucket(&objects, &clock));
    assert!(waits.attempt().await.unwrap().is_none());
    assert_eq!(waits.holder().unwrap().owner, first.held.bucket.owner);
    assert!(matches!(waits.in_use(), CheckpointError::InUse { .. }));
    first.release().await.unwrap();
    let second = waits.attempt().await.unwrap().expect("given up");
    assert_eq!(second.load().await, Some(checkpoint(1)));
}

#[tokio::test]
async fn an_owner_that_lives_is_never_replaced_and_one_that_does_not_is() {
    let (objects, clock) = (Faulty::default(), Clock::manual());
    let first = owned(&objects, &clock).await;
    let mut waits = Standby::new(bucket(&objects, &clock));
    for _ in 0..40 {
        assert!(waits.attempt().await.unwrap().is_none());
        clock.advance(RENEWED);
        settle().await;
    }
    // No checkpoint was saved in all this time: the lease alone was renewed.
    assert!(objects.writes.load(Ordering::SeqCst) > 30);
    let BucketStore { held, _renewing } = first;
    drop(_renewing);
    for _ in 0..6 {
        assert!(waits.attempt().await.unwrap().is_none());
        clock.advance(RENEWED);
    }
    let second = waits.attempt().await.unwrap().expect("the owner shows no life");
    second.save(checkpoint(2)).await.unwrap();
    // The old owner was only slow. What it writes must not be kept.
    let slow = BucketStore {
        _renewing: task::spawn("lease", renew(Arc::clone(&held))),
        held,
    };
    let error = slow.save(checkpoint(1)).await.unwrap_err();
    assert!(matches!(error, CheckpointError::Lost { .. }), "{error}");
    assert!(matches!(slow.lost().await, CheckpointError::Lost { .. }));
    assert!(matches!(slow.release().await, Err(CheckpointError::Lost { .. })));
    assert_eq!(second.load().await, Some(checkpoint(2)));
    second.save(checkpoint(3)).await.unwrap();
}

#[tokio::test]
async fn an_owner_that_only_renews_hears_that_it_was_replaced() {
    let (objects, clock) = (Faulty::default(), Clock::manual());
    let first = owned(&objects, &clock).await;
    let stranger = Document {
        checkpoint: None,
        lease: Some(Lease {
            owner: "stranger".to_owned(),
            counter: 9,
            taken: 0,
        }),
    };
    let text = stranger.to_text(first.held.bucket.of()).unwrap();
    let path = &first.held.bucket.path;
    objects.inner.put(path, Bytes::from(text).into()).await.unwrap();
    settle().await;
    clock.advance(RENEWED);
    let error = first.lost().await;
    assert!(error.to_string().contains("taken over by stranger"), "{error}");
}

#[tokio::test]
async fn a_write_without_an_answer_is_looked_for_before_it_is_repeated() {
    let (objects, clock) = (Faulty::default(), Clock::real());
    let first = owned(&objects, &clock).await;
    objects.script.lock().unwrap().push(Fault::Unanswered);
    first.save(checkpoint(1)).await.unwrap();
    assert_eq!(objects.writes.load(Ordering::SeqCst), 2);
    objects
        .script
        .lock()
        .unwrap()
        .extend([Fault::Unanswered, Fault::Refused, Fault::Refused]);
    first.save(checkpoint(2)).await.unwrap();
    assert_eq!(objects.writes.load(Ordering::SeqCst), 5);
    first.save(checkpoint(3)).await.unwrap();
    first.release().await.unwrap();
    assert_eq!(owned(&objects, &clock).await.load().await, Some(checkpoint(3)));
}

#[tokio::test]
async fn a_write_that_nobody_waited_for_is_not_taken_for_the_next_one() {
    let (objects, clock) = (Faulty::default(), Clock::real());
    let first = owned(&objects, &clock).await;
    {
        // As a save that is cut short leaves it: written, and nobody knows.
        let mut state = first.held.state.lock().await;
        state.counter += 1;
        let mut lease = state.document.lease.clone().unwrap();
        lease.counter = state.counter;
        let lost = Document {
            checkpoint: Some(checkpoint(1)),
            lease: Some(lease),
        };
        let text = lost.to_text(first.held.bucket.of()).unwrap();
        let path = &first.held.bucket.path;
        objects.inner.put(path, Bytes::from(text).into()).await.unwrap();
    }
    first.save(checkpoint(2)).await.unwrap();
    first.release().await.unwrap();
    assert_eq!(owned(&objects, &clock).await.load().await, Some(checkpoint(2)));
}

#[tokio::test]
async fn of_two_who_see_an_abandoned_pipeline_one_gets_it() {
    let (objects, clock) = (Faulty::default(), Clock::manual());
    drop(owned(&objects, &clock).await);
    let mut waiting: Vec<Standby> = (0..4).map(|_| Standby::new(bucket(&objects, &clock))).collect();
    for one in &mut waiting {
        assert!(one.attempt().await.unwrap().is_none());
    }
    clock.advance(ABANDONED);
    let attempts = waiting.iter_mut().map(Standby::attempt);
    let got = futures_util::future::join_all(attempts).await;
    assert_eq!(
        got.into_iter()
            .filter(|one| one.as_ref().unwrap().is_some())
            .count(),
        1
    );
}

#[tokio::test]
async fn what_is_not_ours_is_refused() {
    let (objects, clock) = (Faulty::default(), Clock::manual());
    let ours = bucket(&objects, &clock);
    for (text, wanted) in [
        (r#"{"version": 99, "anything": []}"#, "version 99"),
        (r#"{"version": 1, "pipeline": "toys"}"#, "pipeline toys"),
        (r#"{"version": 1, "pipeline": "shop"}"#, "cannot be understood"),
        ("{", "cannot be understood"),
    ] {
        objects
            .inner
            .put(&ours.path, Bytes::from(text).into())
            .await
            .unwrap();
        let error = Standby::new(ours.clone()).attempt().await.unwrap_err();
        assert!(error.to_string().contains(wanted), "{error}");
    }
    assert_eq!(objects.writes.load(Ordering::SeqCst), 0);
}
