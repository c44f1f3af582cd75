//! The server: a B-tree of names. Follows registry.4 to registry.9, registry.19 and registry.20.

use super::gate::Refusal;
use super::rules::{self, Answer, Decision, Method, decide, read_request};
pub use crate::app::service::Keys;
use crate::app::service::{self, House};
use crate::base::{Error, Key};
use crate::node::{CoreId, Net};

/// A running server; see `service::server`.
pub type Server = service::server::Server<Names>;

/// What the server is about.
#[derive(Debug)]
pub struct Names;

impl House for Names {
    type Request = (Method, String);
    const NAME: &'static str = rules::CORE_NAME;

    /// registry.20
    fn open(net: &mut Net<'_>, core: CoreId) -> Result<Names, Error> {
        if net.core_info(core)?.length == 0 {
            // hyperbee.23: writes the header, so that a copy of an empty registry is not an empty copy.
            net.bee_del(core, b"")?;
        }
        Ok(Names)
    }

    fn read(method: &str, body: &[u8]) -> Option<Result<(Method, String), Vec<u8>>> {
        let method = Method::from_name(method)?;
        let name = read_request(body).map_err(|fault| Answer::refused(&fault.to_string()).value());
        Some(name.map(|name| (method, name)))
    }

    /// registry.4, registry.5
    fn serve(
        &mut self,
        net: &mut Net<'_>,
        core: CoreId,
        caller: &Key,
        (method, name): (Method, String),
    ) -> Result<Vec<u8>, Error> {
        let owner = net.bee_get(core, name.as_bytes())?;
        match decide(method, caller, owner.as_deref()) {
            Decision::Answer(answer) => return Ok(answer.value()),
            Decision::Put => net.bee_put(core, name.as_bytes(), caller)?,
            Decision::Del => {
                net.bee_del(core, name.as_bytes())?;
            }
        }
        Ok(Answer::Ok.value())
    }

    fn refused(why: Refusal) -> Vec<u8> {
        let why = match why {
            Refusal::TooMany => rules::TOO_MANY,
            Refusal::Busy => rules::BUSY,
        };
        Answer::refused(why).value()
    }

    fn failed() -> Vec<u8> {
        Answer::refused(rules::STORAGE).value()
    }
}
