//! The store over an S3 bucket.
//!
//! What S3 answers, and what it means here:
//!
//! | answer | to | meaning |
//! |---|---|---|
//! | 404 `NoSuchKey`, `NotFound` | a read | there is no such object |
//! | 412 `PreconditionFailed` | a conditional write | the object moved |
//! | 409 `ConditionalRequestConflict` | a conditional write | another is under way: the object moves |
//! | 404 `NoSuchKey` | a write with `If-Match` | the object moved: it is gone |
//! | 416 `InvalidRange` | a range read | nothing of the object lies in the range |
//! | anything else, 403 and `NoSuchBucket` too | anything | an error: never absence |
//!
//! `SlowDown`, 5xx and timeouts are tried again by the client, with jitter and a bound. A write that
//! succeeds while its answer is lost is refused when it is tried again; the caller then looks
//! again, as for any 412, and finds its own.

use std::collections::VecDeque;
use std::error::Error as StdError;
use std::ops::Range;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::operation::get_object::builders::GetObjectFluentBuilder;
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart, EncodingType};
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use bytes::{Bytes, BytesMut};
use futures::stream;
use lake::key::{ETag, ObjectKey};
use lake::store::{
    ByteRange, Object, ObjectMeta, ObjectStream, Page, Precondition, Store, StoreError, Upload,
};
use percent_encoding::percent_decode_str;
use tracing::warn;

/// Bytes of a part of a multipart upload; a smaller object is written by one request. S3 takes parts
/// of at least 5 MiB, and at most 10,000 of them: objects of up to 80 GB.
pub const PART_BYTES: usize = 8 << 20;

/// Of the parts of an upload: the upload, each part and the completion must name the same.
const CHECKSUM: ChecksumAlgorithm = ChecksumAlgorithm::Crc32;

/// How often a body that breaks off is taken up again before the read fails.
const RESUMES_MAX: u32 = 4;

/// A bucket.
#[derive(Clone)]
pub struct S3Store {
    client: Client,
    bucket: String,
}

impl S3Store {
    /// The objects of `bucket`.
    pub fn new(client: Client, bucket: impl Into<String>) -> Self {
        Self { client, bucket: bucket.into() }
    }

    fn read(&self, key: &ObjectKey) -> GetObjectFluentBuilder {
        self.client.get_object().bucket(&self.bucket).key(key.as_str())
    }

    /// The object without bytes, where its range holds none.
    async fn empty(&self, key: &ObjectKey) -> Result<Option<Object>, StoreError> {
        let meta = self.head(key).await?;
        Ok(meta.map(|meta| Object { meta, bytes: Bytes::new() }))
    }
}

#[async_trait]
impl Store for S3Store {
    async fn head(&self, key: &ObjectKey) -> Result<Option<ObjectMeta>, StoreError> {
        let request = self.client.head_object().bucket(&self.bucket).key(key.as_str());
        match request.send().await {
            Ok(found) => {
                let etag = etag("head", key, found.e_tag)?;
                let size_bytes = size("head", key, found.content_length)?;
                Ok(Some(ObjectMeta { key: key.clone(), etag, size_bytes }))
            }
            Err(error) if error.as_service_error().is_some_and(|error| error.is_not_found()) => {
                Ok(None)
            }
            Err(error) => Err(unavailable("head", key, error)),
        }
    }

    async fn get(&self, key: &ObjectKey, range: ByteRange) -> Result<Option<Object>, StoreError> {
        let header = match &range {
            ByteRange::All => None,
            ByteRange::Bounded(Range { start, end }) if start >= end => {
                return self.empty(key).await;
            }
            ByteRange::Bounded(Range { start, end }) => Some(format!("bytes={start}-{}", end - 1)),
            ByteRange::Suffix(0) => return self.empty(key).await,
            ByteRange::Suffix(length) => Some(format!("bytes=-{length}")),
        };
        let mut resumes = 0;
        loop {
            let found = match self.read(key).set_range(header.clone()).send().await {
                Ok(found) => found,
                Err(error) if is_absent(&error) => return Ok(None),
                Err(error) if status(&error) == Some(416) => return self.empty(key).await,
                Err(error) => return Err(unavailable("get", key, error)),
            };
            let meta = meta_of("get", key, &found)?;
            match found.body.collect().await {
                Ok(body) => return Ok(Some(Object { meta, bytes: body.into_bytes() })),
                Err(error) if resumes == RESUMES_MAX => return Err(unavailable("get", key, error)),
                Err(_) => resumes += 1,
            }
        }
    }

    async fn stream(&self, key: &ObjectKey) -> Result<Option<ObjectStream>, StoreError> {
        let found = match self.read(key).send().await {
            Ok(found) => found,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(unavailable("get", key, error)),
        };
        let meta = meta_of("get", key, &found)?;
        let reading = Reading {
            store: self.clone(),
            meta: meta.clone(),
            body: found.body,
            offset: 0,
            resumes: 0,
        };
        let chunks = stream::try_unfold(reading, Reading::next);
        Ok(Some(ObjectStream { meta, chunks: Box::pin(chunks) }))
    }

    async fn put(
        &self,
        key: &ObjectKey,
        bytes: Bytes,
        when: Precondition,
    ) -> Result<ETag, StoreError> {
        if bytes.len() > PART_BYTES {
            let mut upload = self.upload(key).await?;
            return match upload.write(bytes).await {
                Ok(()) => upload.complete(when).await,
                Err(error) => Err(given_up(upload, error).await),
            };
        }
        let (if_match, if_none_match) = headers(&when);
        let request = self.client.put_object().bucket(&self.bucket).key(key.as_str());
        let written = request
            .set_if_match(if_match)
            .set_if_none_match(if_none_match)
            .body(ByteStream::new(SdkBody::from(bytes)))
            .send()
            .await;
        match written {
            Ok(written) => etag("put", key, written.e_tag),
            Err(error) => Err(unwritten("put", key, &when, error)),
        }
    }

    async fn upload(&self, key: &ObjectKey) -> Result<Box<dyn Upload>, StoreError> {
        Ok(Box::new(S3Upload {
            store: self.clone(),
            key: key.clone(),
            buffered: VecDeque::new(),
            buffered_bytes: 0,
            id: None,
            parts: Vec::new(),
        }))
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), StoreError> {
        let request = self.client.delete_object().bucket(&self.bucket).key(key.as_str());
        match request.send().await {
            Ok(_) => Ok(()),
            Err(error) if error.code() == Some("NoSuchKey") => Ok(()),
            Err(error) => Err(unavailable("delete", key, error)),
        }
    }

    async fn list(&self, prefix: &str, after: Option<&ObjectKey>) -> Result<Page, StoreError> {
        let listed = || ObjectKey::new(prefix);
        let mut token = None;
        loop {
            let request = self.client.list_objects_v2().bucket(&self.bucket).prefix(prefix);
            // Keys may hold what XML cannot; encoded, any comes through.
            let answer = request
                .encoding_type(EncodingType::Url)
                .set_start_after(after.map(|after| after.as_str().to_owned()))
                .set_continuation_token(token)
                .send()
                .await
                .map_err(|error| unavailable("list", &listed(), error))?;
            let is_encoded = answer.encoding_type == Some(EncodingType::Url);
            let more = answer.is_truncated.unwrap_or(false);
            let mut objects = Vec::with_capacity(answer.contents().len());
            for entry in answer.contents.into_iter().flatten() {
                let name = entry.key.unwrap_or_default();
                let name = if is_encoded { decoded(&name)? } else { name };
                let key = ObjectKey::new(name);
                let etag = etag("list", &key, entry.e_tag)?;
                let size_bytes = size("list", &key, entry.size)?;
                objects.push(ObjectMeta { key, etag, size_bytes });
            }
            // S3 says how many there are at the most, not at the least: where many were deleted, say.
            if objects.is_empty() && more {
                let next = answer.next_continuation_token;
                token =
                    Some(next.ok_or_else(|| incomplete("list", &listed(), "continuation token"))?);
                continue;
            }
            return Ok(Page { objects, more });
        }
    }
}

/// A body on its way. Where it breaks off it is taken up at that byte, of the same version.
struct Reading {
    store: S3Store,
    meta: ObjectMeta,
    body: ByteStream,
    offset: u64,
    resumes: u32,
}

impl Reading {
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, StoreError> {
        loop {
            let broken: Box<dyn StdError + Send + Sync> = match self.body.next().await {
                Some(Ok(chunk)) => {
                    self.offset += chunk.len() as u64;
                    return Ok(Some((chunk, self)));
                }
                None if self.offset >= self.meta.size_bytes => return Ok(None),
                None => "the body ended early".into(),
                Some(Err(error)) => error.into(),
            };
            if self.resumes == RESUMES_MAX {
                let key = self.meta.key.clone();
                return Err(StoreError::Unavailable { operation: "get", key, source: broken });
            }
            self.resumes += 1;
            let request = self.store.read(&self.meta.key).if_match(self.meta.etag.as_str());
            let found = request.range(format!("bytes={}-", self.offset)).send().await;
            self.body = found.map_err(|error| unavailable("get", &self.meta.key, error))?.body;
        }
    }
}

/// An object that is written part by part. Small ones are written by one request, when complete.
struct S3Upload {
    store: S3Store,
    key: ObjectKey,
    buffered: VecDeque<Bytes>,
    buffered_bytes: usize,
    id: Option<String>,
    parts: Vec<CompletedPart>,
}

impl S3Upload {
    /// The next bytes, as many as there are up to a part's.
    fn take(&mut self) -> Bytes {
        let length = self.buffered_bytes.min(PART_BYTES);
        self.buffered_bytes -= length;
        if let Some(first) = self.buffered.front_mut()
            && first.len() >= length
        {
            return first.split_to(length);
        }
        let mut part = BytesMut::with_capacity(length);
        while part.len() < length {
            let Some(mut next) = self.buffered.pop_front() else { break };
            let wanted = next.split_to(next.len().min(length - part.len()));
            part.extend_from_slice(&wanted);
            if !next.is_empty() {
                self.buffered.push_front(next);
            }
        }
        part.freeze()
    }

    async fn send(&mut self) -> Result<(), StoreError> {
        let body = ByteStream::new(SdkBody::from(self.take()));
        let (client, bucket, key) = (&self.store.client, &self.store.bucket, self.key.as_str());
        let id = match &mut self.id {
            Some(id) => id.clone(),
            none => {
                let request = client.create_multipart_upload().bucket(bucket).key(key);
                let begun = request.checksum_algorithm(CHECKSUM).send().await;
                let begun = begun.map_err(|error| unavailable("upload", &self.key, error))?;
                let id = begun.upload_id.ok_or_else(|| incomplete("upload", &self.key, "id"))?;
                none.insert(id).clone()
            }
        };
        // At most 10,000 parts are taken: S3 itself refuses the next.
        let number = i32::try_from(self.parts.len() + 1).unwrap_or(i32::MAX);
        let request = client.upload_part().bucket(bucket).key(key).upload_id(id);
        let request = request.part_number(number).checksum_algorithm(CHECKSUM);
        let sent = request.body(body).send().await;
        let sent = sent.map_err(|error| unavailable("upload", &self.key, error))?;
        let part = CompletedPart::builder()
            .part_number(number)
            .set_e_tag(sent.e_tag)
            .set_checksum_crc32(sent.checksum_crc32);
        self.parts.push(part.build());
        Ok(())
    }
}

#[async_trait]
impl Upload for S3Upload {
    async fn write(&mut self, bytes: Bytes) -> Result<(), StoreError> {
        self.buffered_bytes += bytes.len();
        self.buffered.push_back(bytes);
        while self.buffered_bytes > PART_BYTES {
            self.send().await?;
        }
        Ok(())
    }

    async fn complete(mut self: Box<Self>, when: Precondition) -> Result<ETag, StoreError> {
        if self.id.is_none() {
            let bytes = self.take();
            return self.store.put(&self.key, bytes, when).await;
        }
        if self.buffered_bytes > 0
            && let Err(error) = self.send().await
        {
            return Err(given_up(self, error).await);
        }
        let (if_match, if_none_match) = headers(&when);
        let parts = CompletedMultipartUpload::builder().set_parts(Some(self.parts.clone()));
        let request = self.store.client.complete_multipart_upload();
        let completed = request
            .bucket(&self.store.bucket)
            .key(self.key.as_str())
            .set_upload_id(self.id.clone())
            .set_if_match(if_match)
            .set_if_none_match(if_none_match)
            .multipart_upload(parts.build())
            .send()
            .await;
        match completed {
            Ok(completed) => etag("upload", &self.key, completed.e_tag),
            Err(error) => {
                let error = unwritten("upload", &self.key, &when, error);
                Err(given_up(self, error).await)
            }
        }
    }

    async fn abort(self: Box<Self>) -> Result<(), StoreError> {
        let Some(id) = &self.id else { return Ok(()) };
        let request = self.store.client.abort_multipart_upload().bucket(&self.store.bucket);
        match request.key(self.key.as_str()).upload_id(id).send().await {
            Ok(_) => Ok(()),
            Err(error) if error.code() == Some("NoSuchUpload") => Ok(()),
            Err(error) => Err(unavailable("upload", &self.key, error)),
        }
    }
}

/// Gives an upload up because of `error`. What cannot be removed now, the bucket's lifecycle does.
async fn given_up(upload: Box<dyn Upload>, error: StoreError) -> StoreError {
    if let Err(remains) = upload.abort().await {
        warn!("{remains}");
    }
    error
}

/// `If-Match` and `If-None-Match`.
fn headers(when: &Precondition) -> (Option<String>, Option<String>) {
    match when {
        Precondition::None => (None, None),
        Precondition::IfMatch(etag) => (Some(etag.as_str().to_owned()), None),
        Precondition::IfAbsent => (None, Some("*".to_owned())),
    }
}

/// Why a write did not happen.
fn unwritten<E>(
    operation: &'static str,
    key: &ObjectKey,
    when: &Precondition,
    error: SdkError<E>,
) -> StoreError
where
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
{
    let moved = match (when, status(&error)) {
        (Precondition::None, _) => false,
        (_, Some(409 | 412)) => true,
        (Precondition::IfMatch(_), Some(404)) => error.code() == Some("NoSuchKey"),
        _ => false,
    };
    match moved {
        true => StoreError::Precondition { key: key.clone() },
        false => unavailable(operation, key, error),
    }
}

fn is_absent<E: ProvideErrorMetadata>(error: &SdkError<E>) -> bool {
    error.code() == Some("NoSuchKey")
}

fn status<E>(error: &SdkError<E>) -> Option<u16> {
    error.raw_response().map(|response| response.status().as_u16())
}

fn meta_of(
    operation: &'static str,
    key: &ObjectKey,
    found: &GetObjectOutput,
) -> Result<ObjectMeta, StoreError> {
    let etag = etag(operation, key, found.e_tag.clone())?;
    // "bytes 2-4/10"
    let whole = found.content_range.as_deref().and_then(|range| range.rsplit('/').next());
    let size_bytes = match whole {
        Some(whole) => whole.parse().map_err(|_| incomplete(operation, key, "size"))?,
        None => size(operation, key, found.content_length)?,
    };
    Ok(ObjectMeta { key: key.clone(), etag, size_bytes })
}

fn etag(
    operation: &'static str,
    key: &ObjectKey,
    etag: Option<String>,
) -> Result<ETag, StoreError> {
    etag.map(ETag::new).ok_or_else(|| incomplete(operation, key, "ETag"))
}

fn size(operation: &'static str, key: &ObjectKey, size: Option<i64>) -> Result<u64, StoreError> {
    let size = size.and_then(|size| u64::try_from(size).ok());
    size.ok_or_else(|| incomplete(operation, key, "size"))
}

/// A key as a listing encodes it: as a form does, a space as `+`.
fn decoded(name: &str) -> Result<String, StoreError> {
    let spaced = name.replace('+', " ");
    let key = percent_decode_str(&spaced).decode_utf8();
    key.map(String::from).map_err(|error| StoreError::Unavailable {
        operation: "list",
        key: ObjectKey::new(name),
        source: error.into(),
    })
}

fn incomplete(operation: &'static str, key: &ObjectKey, what: &str) -> StoreError {
    let source = format!("the answer has no {what}").into();
    StoreError::Unavailable { operation, key: key.clone(), source }
}

fn unavailable(
    operation: &'static str,
    key: &ObjectKey,
    error: impl StdError + Send + Sync + 'static,
) -> StoreError {
    StoreError::Unavailable { operation, key: key.clone(), source: crate::failure::told(error) }
}
