//! The description of the API, from the routes themselves and what all of them share.

use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    Components, ContentBuilder, InfoBuilder, License, OpenApi, OpenApiBuilder, Ref,
    ResponseBuilder, SecurityRequirement,
};
use utoipa::{PartialSchema, ToSchema};

use crate::auth;

const ABOUT: &str = "Sandboxes for programs that are not trusted.\n\n\
    Durations are written as `300ms`, `30s`, `1h30m`; times in RFC 3339. Every answer carries \
    `X-Request-ID`, every error the same shape. A request with an unknown field is refused with \
    the field's name.";

/// The document before routes are added.
pub(crate) fn base() -> OpenApi {
    let mut license = License::new("Apache-2.0");
    license.identifier = Some("Apache-2.0".to_owned());
    let info = InfoBuilder::new()
        .title("StacyVM")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(ABOUT))
        .license(Some(license))
        .build();
    let mut components = Components::new();
    components.schemas.insert(api::ErrorBody::name().into_owned(), api::ErrorBody::schema());
    let header = |name: &str| SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new(name)));
    components.add_security_scheme("api_key", header(api::paths::API_KEY));
    components.add_security_scheme("admin_api_key", header(api::paths::ADMIN_API_KEY));
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    OpenApiBuilder::new().info(info).components(Some(components)).build()
}

/// Adds to every operation what all operations share: how it fails, and which credentials open it.
pub(crate) fn complete(document: &mut OpenApi) {
    for (path, item) in &mut document.paths.paths {
        let public = auth::PUBLIC.contains(&path.as_str());
        for operation in operations(item) {
            let content =
                ContentBuilder::new().schema(Some(Ref::from_schema_name("ErrorBody"))).build();
            let failed = ResponseBuilder::new()
                .description("The request failed; the reason says why.")
                .content("application/json", content)
                .build();
            operation.responses.responses.insert("default".to_owned(), failed.into());
            operation.security = Some(if public {
                Vec::new()
            } else {
                ["api_key", "admin_api_key", "bearer"]
                    .map(|name| SecurityRequirement::new(name, Vec::<String>::new()))
                    .into()
            });
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let operations = [&mut item.get, &mut item.post, &mut item.delete, &mut item.put];
    operations.into_iter().flatten()
}
