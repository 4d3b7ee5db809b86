//! `POST /predict`: pictures in, answers out.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};

use axum::Json;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use feature_cache::ClassNames;
use futures_util::StreamExt;
use head::prediction::Prediction;
use multer::{Field, Multipart};
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use tokio::task::block_in_place;
use utoipa::ToSchema;

use super::queue::JobError;
use super::refusal::{ErrorBody, MAX_PICTURES, Refusal};
use super::state::ServerState;
use super::upload::{Incoming, MAX_BEFORE_PART, Upload, UploadError};
use crate::answer::{Answer, AnswerOptions, Ranked};

/// The format of a request's body, from its content type.
#[derive(Debug, PartialEq, Eq)]
enum Format {
    /// A picture's file.
    Raw,
    /// A form with a file for each picture; `boundary` separates its parts.
    Form { boundary: String },
    /// [`JsonRequest`].
    Json,
}

/// A picture as JSON: either `image` or `url`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JsonRequest {
    /// The picture's file in base64.
    image: Option<String>,
    /// Where to fetch it: http:// or https://, on a host that the server is allowed to fetch from.
    url: Option<String>,
}

/// The answer for a picture, with the values that `classify` prints for it.
#[derive(Debug, Serialize, ToSchema)]
pub struct PictureAnswer<'a> {
    /// The probability of each class, the most probable first.
    #[serde(serialize_with = "serialize_as_map")]
    #[schema(value_type = std::collections::HashMap<String, f32>)]
    predictions: Vec<Ranked<'a>>,
    /// The most probable class.
    top_class: &'a str,
    /// Its probability.
    top_probability: f32,
    /// Whether the picture is unlike all training photos: its class means nothing then. Null where the head cannot tell.
    unfamiliar: Option<bool>,
    /// How much it is unlike them: 0 is usual for a validation photo. Null where the head cannot tell.
    unfamiliarity: Option<f32>,
}

/// The answers for several pictures, in their order.
#[derive(Debug, Serialize, ToSchema)]
pub struct ManyAnswers<'a> {
    results: Vec<PictureResult<'a>>,
}

/// The answer for one of several pictures, or why there is none.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum PictureResult<'a> {
    /// The answer.
    Answer(PictureAnswer<'a>),
    /// Why there is none.
    Error(ErrorBody),
}

/// Says what pictures show.
#[utoipa::path(
    post,
    path = "/predict",
    request_body(
        description = "A picture's file, a form with up to 64 files, or JSON. Several files, or even one in a field \
                       named images, are answered with a list. Up to 20 MB.",
        content(
            (String = "image/*"),
            (String = "application/octet-stream"),
            (String = "multipart/form-data"),
            (JsonRequest = "application/json"),
        )
    ),
    responses(
        (status = 200, description = "The answer for a picture, or for several: {\"results\": […]}", content(
            (PictureAnswer = "application/json"),
            (ManyAnswers = "application/json"),
        )),
        (status = 400, description = "The body ends early, or is not the form that its content type says", body = ErrorBody),
        (status = 403, description = "Not a host that this server fetches pictures from", body = ErrorBody),
        (status = 408, description = "The body did not arrive in time", body = ErrorBody),
        (status = 413, description = "Too many bytes, pixels or pictures", body = ErrorBody),
        (status = 415, description = "Not a picture, or a content type that is not supported", body = ErrorBody),
        (status = 422, description = "No picture, a damaged one, or JSON that does not hold one", body = ErrorBody),
        (status = 429, description = "Busy: try again after the seconds in Retry-After", body = ErrorBody),
        (status = 500, description = "The server has failed", body = ErrorBody),
        (status = 502, description = "The picture could not be fetched", body = ErrorBody),
        (status = 504, description = "The picture could not be fetched in time", body = ErrorBody),
    )
)]
pub async fn predict(State(server): State<Arc<ServerState>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let mut incoming = Incoming::new(&parts.headers, body);
    let answered = answer(&server, &parts.headers, &mut incoming).await;
    if answered.is_err() {
        incoming.discard().await;
    }
    answered.unwrap_or_else(IntoResponse::into_response)
}

/// Answers the pictures of a request.
async fn answer(server: &Arc<ServerState>, headers: &HeaderMap, incoming: &mut Incoming) -> Result<Response, Refusal> {
    let picture = match format_of(headers)? {
        Format::Raw => incoming.read(&server.budget).await?,
        Format::Json => picture_of_json(server, incoming.read(&server.budget).await?).await?,
        Format::Form { boundary } => {
            let Form { mut pictures, is_list } = read_form(server, incoming, boundary).await?;
            if is_list || pictures.len() > 1 {
                return answer_many(server, pictures).await;
            }
            pictures.pop().ok_or(Refusal::Empty)?
        }
    };
    if picture.as_ref().is_empty() {
        return Err(Refusal::Empty);
    }
    let receiver = server.submit(vec![picture])?.pop().expect("one for each picture");
    let prediction = receiver.await.map_err(|_| Refusal::Failed)??;
    Ok(Json(PictureAnswer::new(&prediction, &server.classes)).into_response())
}

/// Answers several pictures with a list. A picture that cannot be used has an error in its place; if the network fails,
/// the whole request fails.
async fn answer_many(server: &ServerState, pictures: Vec<Upload>) -> Result<Response, Refusal> {
    let mut results = Vec::new();
    for receiver in server.submit(pictures)? {
        results.push(match receiver.await.map_err(|_| Refusal::Failed)? {
            Ok(prediction) => PictureResult::Answer(PictureAnswer::new(&prediction, &server.classes)),
            Err(JobError::Network(error)) => return Err(JobError::Network(error).into()),
            Err(error) => PictureResult::Error(ErrorBody { error: error.to_string() }),
        });
    }
    Ok(Json(ManyAnswers { results }).into_response())
}

/// The format of the body. Without a content type it is a picture's file.
fn format_of(headers: &HeaderMap) -> Result<Format, Refusal> {
    let Some(content_type) = headers.get(CONTENT_TYPE) else { return Ok(Format::Raw) };
    let content_type = String::from_utf8_lossy(content_type.as_bytes());
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "application/json" => Ok(Format::Json),
        "multipart/form-data" => {
            let boundary = multer::parse_boundary(&*content_type).map_err(Refusal::Form)?;
            Ok(Format::Form { boundary })
        }
        "application/octet-stream" => Ok(Format::Raw),
        image if image.starts_with("image/") => Ok(Format::Raw),
        _ => Err(Refusal::ContentType(content_type.into_owned())),
    }
}

/// The contents of a form.
struct Form {
    /// Its files.
    pictures: Vec<Upload>,
    /// Whether even one picture is answered with a list.
    is_list: bool,
}

/// The name of form fields that are answered with a list, however many they are.
const LIST_FIELD: &str = "images";

/// Reads the files of a form.
async fn read_form(server: &ServerState, incoming: &mut Incoming, boundary: String) -> Result<Form, Refusal> {
    // Counts what multer has received since it was last asked for a part or for bytes of one.
    let unparsed = Mutex::new(server.budget.upload());
    let body = incoming.stream().map(|chunk: Result<Bytes, UploadError>| -> Result<Bytes, UploadError> {
        let chunk = chunk?;
        let mut unparsed = unparsed.lock().expect(NO_PANIC);
        unparsed.hold(chunk.len())?;
        if unparsed.held() > MAX_BEFORE_PART { Err(UploadError::NoPart) } else { Ok(chunk) }
    });
    let restart_count = || *unparsed.lock().expect(NO_PANIC) = server.budget.upload();
    let mut form = Multipart::new(body, boundary);
    let mut pictures = Vec::new();
    let mut is_list = false;
    loop {
        restart_count();
        let Some(mut field) = form.next_field().await.map_err(form_error)? else { break };
        // What is not a file is read, too, and dropped.
        let mut picture = is_file(&field).then(|| server.budget.upload());
        if picture.is_some() {
            if pictures.len() == MAX_PICTURES {
                return Err(Refusal::TooManyPictures);
            }
            is_list |= field.name() == Some(LIST_FIELD);
        }
        loop {
            restart_count();
            let Some(chunk) = field.chunk().await.map_err(form_error)? else { break };
            if let Some(picture) = &mut picture {
                picture.push(&chunk)?;
            }
        }
        pictures.extend(picture);
    }
    Ok(Form { pictures, is_list })
}

const NO_PANIC: &str = "nothing panics while it holds the lock";

fn is_file(field: &Field<'_>) -> bool {
    let is_image = field.content_type().is_some_and(|content_type| content_type.type_() == "image");
    is_image || field.file_name().is_some()
}

/// Unwraps an error of the body itself, which multer wraps into one of the form.
fn form_error(error: multer::Error) -> Refusal {
    match error {
        multer::Error::StreamReadFailed(failure) => match failure.downcast::<UploadError>() {
            Ok(failure) => Refusal::Upload(*failure),
            Err(failure) => Refusal::Form(multer::Error::StreamReadFailed(failure)),
        },
        other => Refusal::Form(other),
    }
}

/// The picture that JSON holds or names.
async fn picture_of_json(server: &Arc<ServerState>, json: Upload) -> Result<Upload, Refusal> {
    // Parsing and decoding millions of characters takes milliseconds; other requests go on meanwhile.
    let request = block_in_place(|| serde_json::from_slice(json.as_ref())).map_err(Refusal::Json)?;
    match request {
        JsonRequest { image: Some(image), url: None } => {
            let padding = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
            let base64 = GeneralPurpose::new(&STANDARD, padding);
            // The JSON is dropped before there is a third copy of the picture.
            let text = json.replace(image.into_bytes());
            let picture = block_in_place(|| base64.decode(&text)).map_err(Refusal::Base64)?;
            Ok(text.replace(picture))
        }
        JsonRequest { image: None, url: Some(url) } => {
            drop(json);
            let place = server.fetcher.place().await?;
            let server = Arc::clone(server);
            let fetched = tokio::task::spawn_blocking(move || {
                let _place = place;
                server.fetcher.fetch(&url, &server.budget)
            });
            Ok(fetched.await.map_err(|_| Refusal::Failed)??)
        }
        _ => Err(Refusal::NotOneOfTwo),
    }
}

impl<'a> PictureAnswer<'a> {
    fn new(prediction: &Prediction, classes: &'a ClassNames) -> Self {
        let all_classes = NonZeroUsize::new(classes.len()).expect("a head has classes");
        let answer = Answer::new(prediction, classes, AnswerOptions { top: all_classes, threshold: 0.0 });
        Self {
            predictions: answer.top,
            top_class: answer.class,
            top_probability: answer.probability,
            unfamiliar: answer.unfamiliar,
            unfamiliarity: answer.unfamiliarity,
        }
    }
}

/// Serializes classes as a map, `{class: probability}`, in the order of `ranked`.
fn serialize_as_map<S: Serializer>(ranked: &[Ranked<'_>], serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(ranked.len()))?;
    for Ranked { class, probability } in ranked {
        map.serialize_entry(class, probability)?;
    }
    map.end()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn the_content_type_decides_the_format() {
        let format = |content_type: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            if let Some(content_type) = content_type {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
            }
            format_of(&headers)
        };
        for raw in [None, Some("image/jpeg"), Some("Image/PNG; q=1"), Some("application/octet-stream")] {
            assert_eq!(format(raw).unwrap(), Format::Raw, "{raw:?}");
        }
        assert_eq!(format(Some("application/json; charset=utf-8")).unwrap(), Format::Json);
        let form = format(Some("multipart/form-data; boundary=\"a b\"")).unwrap();
        assert_eq!(form, Format::Form { boundary: "a b".to_owned() });
        assert!(matches!(format(Some("multipart/form-data")), Err(Refusal::Form(_))));
        for other in ["text/plain", "application/x-www-form-urlencoded", "", "imagejpeg"] {
            assert!(matches!(format(Some(other)), Err(Refusal::ContentType(_))), "{other}");
        }
    }
}
