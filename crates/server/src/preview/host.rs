//! Host names, parsed once. Only the canonical form of a preview address is one: everything that
//! merely resembles it is refused, so that no two names stand for one port.

use axum::extract::Request;
use http::header::HOST;
use http::{Uri, Version};
use model::{Failure, SandboxId};

use crate::options::BindError;

/// The host, and the port if there is one, that a request was sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Authority(String);

impl Authority {
    /// From the request's target if it is absolute, else from its `Host` header; empty for an
    /// HTTP/1.0 request that has neither.
    pub(crate) fn of(request: &Request) -> Result<Self, Failure> {
        let mut headers = request.headers().get_all(HOST).iter();
        let named = headers.next().map(|value| value.to_str());
        let named = named.transpose().map_err(|_| Failure::invalid_field("Host", "not ASCII"))?;
        if headers.next().is_some() {
            return Err(Failure::invalid_field("Host", "it was sent twice"));
        }
        let absolute = request.uri().authority().map(http::uri::Authority::as_str);
        match (absolute, named) {
            (Some(absolute), Some(named)) if absolute != named => {
                Err(Failure::invalid_field("Host", "it differs from the request's target"))
            }
            (Some(text), _) | (None, Some(text)) => Ok(Self(text.to_owned())),
            (None, None) if request.version() == Version::HTTP_10 => Ok(Self(String::new())),
            (None, None) => Err(Failure::invalid_field("Host", "it is missing")),
        }
    }

    /// As it was sent.
    pub(crate) fn text(&self) -> &str {
        &self.0
    }

    /// Without the port.
    pub(crate) fn host(&self) -> &str {
        match self.0.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
            Some(_) | None => &self.0,
        }
    }
}

/// The domain under which previews are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PreviewDomain {
    host: String,
    port: Option<u16>,
}

/// Whom a request is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// The API.
    Api,
    /// A port in a sandbox.
    Preview(PreviewAddress),
    /// Nobody: the host name resembles a preview address and is none.
    Refused,
}

/// A port in a sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PreviewAddress {
    pub(crate) port: u16,
    pub(crate) sandbox: SandboxId,
}

impl PreviewDomain {
    /// From the setting. `localhost` and names below it get the bound port when they name none,
    /// because nothing stands in front of a server that is reached by such a name.
    pub(crate) fn new(text: &str, bound_port: u16) -> Result<Self, BindError> {
        let invalid = || BindError::PreviewDomain(text.to_owned());
        let uri: Uri = text.parse().map_err(|_| invalid())?;
        let authority = uri.authority().ok_or_else(invalid)?;
        let host = authority.host();
        let labels_ok = host.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        });
        let port = authority.port_u16();
        let rebuilt = port.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        // The longest label of an address in front of it has 29 characters.
        if !labels_ok || rebuilt != text || host.len() > 220 || port == Some(0) {
            return Err(invalid());
        }
        let local = host == "localhost" || host.ends_with(".localhost");
        let port = port.or_else(|| local.then_some(bound_port)).filter(|port| *port != 80);
        Ok(Self { host: host.to_owned(), port })
    }

    /// The domain without a port.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// As clients see it: with the port, unless it is the one of HTTP.
    pub(crate) fn published(&self) -> String {
        match self.port {
            Some(port) => format!("{}:{port}", self.host),
            None => self.host.clone(),
        }
    }

    /// Whom a request to `authority` is for.
    pub(crate) fn target(&self, authority: &Authority) -> Target {
        let host = authority.host();
        let label = host.strip_suffix(&self.host).and_then(|label| label.strip_suffix('.'));
        if let Some(address) = label.and_then(PreviewAddress::parse) {
            return Target::Preview(address);
        }
        if resembles_preview(host) { Target::Refused } else { Target::Api }
    }
}

impl PreviewAddress {
    fn parse(label: &str) -> Option<Self> {
        let (port, sandbox) = label.split_once('-')?;
        let number: u16 = port.parse().ok()?;
        let canonical = number != 0 && number.to_string() == port;
        let sandbox = sandbox.parse().ok()?;
        canonical.then_some(Self { port: number, sandbox })
    }
}

/// Whether a part of the host name looks like a port and a sandbox, in whatever case and under
/// whatever domain.
fn resembles_preview(host: &str) -> bool {
    host.to_ascii_lowercase().split('.').any(|label| {
        label.split_once("-sb-").is_some_and(|(port, _)| {
            port.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'+' | b'-'))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ID: &str = "sb-abcdefghij234567abcd";

    fn target(host: &str) -> Target {
        PreviewDomain::new("localhost", 7423).unwrap().target(&Authority(host.to_owned()))
    }

    #[test]
    fn a_canonical_host_is_a_port_in_a_sandbox_under_any_port_of_ours() {
        let expected = Target::Preview(PreviewAddress { port: 3000, sandbox: ID.parse().unwrap() });
        assert_eq!(target(&format!("3000-{ID}.localhost")), expected);
        assert_eq!(target(&format!("3000-{ID}.localhost:7423")), expected);
    }

    #[test]
    fn other_forms_of_the_same_address_are_refused() {
        for host in [
            format!("03000-{ID}.localhost"),
            format!("+3000-{ID}.localhost"),
            format!("-3000-{ID}.localhost"),
            format!("0-{ID}.localhost"),
            format!("65536-{ID}.localhost"),
            format!("-{ID}.localhost"),
            format!("3000-{}.localhost", ID.to_uppercase()),
            format!("3000-{ID}.LOCALHOST"),
            format!("3000-{ID}.localhost."),
            format!("3000-{ID}x.localhost"),
            format!("a.3000-{ID}.localhost"),
            format!("3000-{ID}.a.localhost"),
            format!("3000-{ID}.example.com"),
            format!("3000-{ID}"),
        ] {
            assert_eq!(target(&host), Target::Refused, "{host}");
        }
    }

    #[test]
    fn other_hosts_are_for_the_api() {
        for host in ["localhost:7423", "127.0.0.1", "[::1]:7423", "", "my-sb-host.example.com"] {
            assert_eq!(target(host), Target::Api, "{host}");
        }
    }

    #[test]
    fn the_published_domain_has_the_port_that_leads_here() {
        let published = |text| PreviewDomain::new(text, 7423).map(|domain| domain.published());
        assert_eq!(published("localhost").unwrap(), "localhost:7423");
        assert_eq!(published("localhost:8080").unwrap(), "localhost:8080");
        assert_eq!(published("preview.example.com").unwrap(), "preview.example.com");
        for bad in ["", "EXAMPLE.com", "a b", "http://x", "x/y", "x:0", "x:99999", "-x.y", "x."] {
            assert!(published(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_two_host_names_stand_for_one_port(label in "[0-9+]{0,6}-?(sb|SB|sB)-[a-z2-7]{20}") {
            if let Target::Preview(address) = target(&format!("{label}.localhost")) {
                prop_assert_eq!(format!("{}-{}", address.port, address.sandbox), label);
            }
        }
    }
}
