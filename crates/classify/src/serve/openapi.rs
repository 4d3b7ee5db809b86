//! `GET /openapi.json`: the server's interface, made of the handlers' own descriptions.

use axum::Json;
use utoipa::OpenApi;

use super::{health, predict};

/// The paths of the server for programs, with utoipa's descriptions of their handlers.
#[derive(Debug, OpenApi)]
#[openapi(
    info(title = "classify", description = "What a trained head says of pictures"),
    paths(predict::predict, health::health, health::ready, health::info, health::metrics)
)]
struct Interface;

/// The interface as OpenAPI 3.1.
pub async fn openapi() -> Json<utoipa::openapi::OpenApi> {
    Json(Interface::openapi())
}
