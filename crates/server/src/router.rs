//! The whole surface on one screen, and the layers around it.

use axum::{Router, middleware};
use bytes::Bytes;
use http::HeaderValue;
use http::header::X_CONTENT_TYPE_OPTIONS;
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::set_header::SetResponseHeaderLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::routes::{exec, execs, files, providers, sandboxes, system};
use crate::state::{Document, Plane};
use crate::{auth, envelope, guard, openapi, preview};

/// Every route of the API. `HEAD` comes with every `GET`.
fn surface() -> OpenApiRouter<Plane> {
    OpenApiRouter::with_openapi(openapi::base())
        .routes(routes!(sandboxes::create::create, sandboxes::list::list, sandboxes::prune::prune))
        .routes(routes!(sandboxes::admission::admission))
        .routes(routes!(sandboxes::get::get, sandboxes::delete::delete))
        .routes(routes!(sandboxes::extend::extend))
        .routes(routes!(sandboxes::logs::logs))
        .routes(routes!(sandboxes::stats::stats))
        .routes(routes!(exec::run::run))
        .routes(routes!(exec::ws::ws))
        .routes(routes!(execs::list::list))
        .routes(routes!(execs::get::get, execs::kill::kill))
        .routes(routes!(execs::output::output))
        .routes(routes!(execs::stdin::stdin))
        .routes(routes!(execs::signal::signal))
        .routes(routes!(execs::resize::resize))
        .routes(routes!(files::write::write, files::read::read, files::delete::delete))
        .routes(routes!(files::list::list))
        .routes(routes!(files::mkdir::mkdir))
        .routes(routes!(files::copy::copy))
        .routes(routes!(files::archive::read, files::archive::write))
        .routes(routes!(files::grep::grep))
        .routes(routes!(files::watch::watch))
        .routes(routes!(files::rename::rename))
        .routes(routes!(files::chmod::chmod))
        .routes(routes!(files::stat::stat))
        .routes(routes!(files::glob::glob))
        .routes(routes!(providers::list::list))
        .routes(routes!(providers::test::test))
        .routes(routes!(providers::get::get))
        .routes(routes!(system::events::events))
        .routes(routes!(system::health::health))
        .routes(routes!(system::live::live))
        .routes(routes!(system::ready::ready))
        .routes(routes!(system::pool::status))
        .routes(routes!(system::quotas::summary))
        .routes(routes!(system::openapi::document))
}

/// Collections that published clients also write with a slash at the end.
fn with_trailing_slash() -> Router<Plane> {
    use axum::routing::{get, post};
    let sandboxes =
        post(sandboxes::create::create).get(sandboxes::list::list).delete(sandboxes::prune::prune);
    Router::new()
        .route("/api/v1/sandboxes/", sandboxes)
        .route("/api/v1/providers/", get(providers::list::list))
}

/// The routes with everything around them, from the inside out.
pub(crate) fn service(plane: &Plane) -> Router {
    let (router, mut document) = surface().split_for_parts();
    openapi::complete(&mut document);
    let document = serde_json::to_vec(&document).expect("the document of our routes is JSON");
    let layers = ServiceBuilder::new()
        .option_layer(plane.settings.origins.layer())
        .layer(middleware::from_fn_with_state(plane.clone(), guard::refuse_foreign))
        .layer(middleware::from_fn_with_state(plane.clone(), auth::require))
        .layer(SetResponseHeaderLayer::overriding(
            X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ));
    let api = router
        .merge(with_trailing_slash())
        .fallback(envelope::no_route)
        .method_not_allowed_fallback(envelope::no_method)
        .layer(axum::Extension(Document(Bytes::from(document))))
        .layer(layers)
        .with_state(plane.clone());
    // A router of its own, so that these layers come before any routing.
    Router::new()
        .fallback_service(api)
        .layer(middleware::from_fn_with_state(plane.clone(), preview::dispatch))
        .layer(CatchPanicLayer::custom(envelope::panicked))
        .layer(middleware::from_fn(envelope::wrap))
}
