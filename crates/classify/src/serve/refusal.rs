//! Why a request has no answer, and the status that says so.

use axum::Json;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use backbone::PhotoError;
use backbone::pixels::PixelError;
use serde::Serialize;
use utoipa::ToSchema;

use super::fetch::FetchError;
use super::queue::{Full, JobError};
use super::upload::UploadError;
use crate::model::AnswerError;

/// The maximum number of pictures in a request.
pub const MAX_PICTURES: usize = 64;

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Its body was not taken.
    #[error(transparent)]
    Upload(#[from] UploadError),
    /// Too many pictures wait.
    #[error("the server is busy; try again")]
    Busy,
    /// Over [`MAX_PICTURES`].
    #[error("more than {MAX_PICTURES} pictures")]
    TooManyPictures,
    /// The content type is none that pictures are taken in.
    #[error("content type {0:?}: expected image/…, application/octet-stream, multipart/form-data or application/json")]
    ContentType(String),
    /// There is no picture in it.
    #[error("no picture in the request")]
    Empty,
    /// Not the form that its content type says.
    #[error("not a form: {0}")]
    Form(multer::Error),
    /// Not the JSON that is expected.
    #[error("expected {{\"image\": base64}} or {{\"url\": address}}: {0}")]
    Json(serde_json::Error),
    /// The JSON has both a picture and where to fetch it, or neither.
    #[error("expected {{\"image\": base64}} or {{\"url\": address}}, one of them")]
    NotOneOfTwo,
    /// The text is not base64.
    #[error("image is not base64: {0}")]
    Base64(base64::DecodeError),
    /// The picture could not be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// There is no answer for the picture.
    #[error(transparent)]
    Job(#[from] JobError),
    /// The worker that had the picture has failed.
    #[error("the server has failed")]
    Failed,
}

/// What is said in place of an answer.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorBody {
    /// Why there is no answer.
    pub error: String,
}

impl From<Full> for Refusal {
    fn from(_: Full) -> Self {
        Self::Busy
    }
}

impl Refusal {
    /// The status of the response.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Upload(UploadError::TooLarge) | Self::TooManyPictures => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Upload(UploadError::Busy) | Self::Busy => StatusCode::TOO_MANY_REQUESTS,
            Self::Upload(UploadError::Slow) => StatusCode::REQUEST_TIMEOUT,
            Self::Upload(UploadError::Incomplete | UploadError::NoPart) | Self::Form(_) => StatusCode::BAD_REQUEST,
            Self::ContentType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Empty | Self::Json(_) | Self::NotOneOfTwo | Self::Base64(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Fetch(error) => error.status(),
            Self::Job(JobError::Picture(error)) => picture_status(error),
            Self::Job(JobError::Network(_)) | Self::Failed => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// The status for a picture that cannot be used.
fn picture_status(error: &AnswerError) -> StatusCode {
    match error {
        AnswerError::NotFinite(_) => StatusCode::INTERNAL_SERVER_ERROR,
        AnswerError::Photo(_) if error.limit().is_some() => StatusCode::PAYLOAD_TOO_LARGE,
        AnswerError::Photo(PhotoError::Pixels(
            PixelError::NotAPicture | PixelError::Unsupported(_) | PixelError::UnsupportedKind { .. },
        )) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        AnswerError::Photo(_) => StatusCode::UNPROCESSABLE_ENTITY,
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = self.status();
        let mut response = (status, Json(ErrorBody { error: self.to_string() })).into_response();
        if status == StatusCode::TOO_MANY_REQUESTS {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
