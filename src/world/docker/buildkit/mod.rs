//! Builds with the engine's BuildKit.
//!
//! Two connections, each an upgraded request of the engine: on the one (`/grpc`) we ask for the build and hear how it goes on, on the
//! other (`/session`) the engine asks us for what it needs. That is how `docker buildx` talks to an engine; unlike `POST /build` it knows
//! every attribute, and unlike an archive it sends of a directory only what is wanted and has changed. Whatever breaks off the
//! connections, the end of our process as well, breaks off the build in the engine.
//!
//! | file | what |
//! |---|---|
//! | `order` | a service's `build` as a request |
//! | `session` `files` `agent` `content` | what the engine asks for meanwhile |
//! | `steps` | what people are told of it |
//! | `grpc` `wire` | how all of it is said |

mod agent;
mod content;
mod files;
mod grpc;
mod keys;
mod order;
mod session;
mod steps;
mod wire;

use std::time::Duration;

use futures_util::future::{Either, select};
use grpc::{Client, Refusal};
pub(super) use order::Order;
use session::Session;
use steps::Steps;
use tokio::time::timeout;
use wire::{Nothing, SolveResponse, Status, StatusRequest};

use super::layout::Layout;
use super::progress::Reporter;
use super::{Docker, dial, run};
use crate::plan::action::{Fault, FaultKind};

const SOLVE: &str = "moby.buildkit.v1.Control/Solve";
const STATUS: &str = "moby.buildkit.v1.Control/Status";
const WORKERS: &str = "moby.buildkit.v1.Control/ListWorkers";

/// How long the last news of a build is waited for that has ended.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Builds an image under all its names.
pub(super) async fn build(docker: &Docker, order: &Order<'_>, reporter: &mut Reporter<'_>) -> Result<(), Fault> {
    let endpoint = &docker.0.endpoint;
    let none = || Fault::permanent("the Docker Engine has no BuildKit");
    let control = dial::upgraded(endpoint, "/grpc", &[]).await?.ok_or_else(none)?;
    let control = Client::new(control).await.map_err(|refusal| fault(&refusal))?;
    let gateway = if order.wants_gateway() { Some(gateway(&control).await?) } else { None };
    let id = format!("baistack{}{}", run::slug()?, run::slug()?);
    let placed = order.place(docker, &id, gateway.as_deref()).await?;
    for path in &placed.empty {
        reporter.say(&format!("there are no layers in {} yet", path.display()));
    }
    let session = Session::open(endpoint, &id, &order.shared_key(), placed.served).await?.ok_or_else(none)?;
    let mut steps = Steps::default();
    let solved = {
        let solving = std::pin::pin!(control.call::<SolveResponse>(SOLVE, &placed.request));
        let following = std::pin::pin!(follow(&control, &placed.request.reference, &mut steps, reporter));
        match select(solving, following).await {
            // Nothing of it is needed to know whether the build is good.
            Either::Left((solved, following)) => {
                let _ = timeout(LAST_WORDS, following).await;
                solved
            }
            Either::Right((_, solving)) => solving.await,
        }
    };
    drop(session);
    let solved = solved.map_err(|refusal| steps.fault(&refusal, order))?;
    name_layers(&solved, &placed.left)
}

/// Gives the layers that a build has left in directories their names there.
fn name_layers(solved: &SolveResponse, left: &[(Layout, String)]) -> Result<(), Fault> {
    /// By what the builder answers with the manifest of what it has left.
    const MANIFEST: &str = "cache.manifest";
    if left.is_empty() {
        return Ok(());
    }
    let untold = || Fault::permanent("`build.cache_to`: the builder does not tell which layers it has left");
    let descriptor = solved.exporter_response.get(MANIFEST).ok_or_else(untold)?;
    let descriptor: serde_json::Value = serde_json::from_str(descriptor).map_err(|_| untold())?;
    left.iter().try_for_each(|(layout, tag)| {
        layout
            .name(tag, descriptor.clone())
            .map_err(|error| Fault::permanent(format!("`build.cache_to`: write its index: {error}")))
    })
}

/// Tells how a build goes on, until it ends.
async fn follow(control: &Client, reference: &str, steps: &mut Steps, reporter: &mut Reporter<'_>) -> Result<(), Refusal> {
    let mut news = control.stream(STATUS, &StatusRequest { reference: reference.to_owned() }).await?;
    while let Some(status) = news.next::<Status>().await? {
        steps.take(status, reporter);
    }
    Ok(())
}

/// The address that `host-gateway` stands for, which the engine's worker has as a label.
async fn gateway(control: &Client) -> Result<String, Fault> {
    const LABEL: &str = "org.mobyproject.buildkit.worker.moby.host-gateway-ip";
    let workers: wire::Workers = control.call(WORKERS, &Nothing {}).await.map_err(|refusal| fault(&refusal))?;
    let address = workers.workers.into_iter().find_map(|mut worker| worker.labels.remove(LABEL));
    address.ok_or_else(|| {
        Fault::permanent("the engine's BuildKit does not tell what `host-gateway` is: write an address in `build.extra_hosts`")
    })
}

/// What a refusal means. One that broke off is the engine's end, after which it is tried again, as with the classic builder.
fn fault(refusal: &Refusal) -> Fault {
    if refusal.is_lost {
        return Fault { kind: FaultKind::EngineAway, message: refusal.message.clone() };
    }
    super::error::refusal(500, steps::plain(&refusal.message))
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body_util::StreamBody;
    use hyper::body::{Bytes, Frame};

    use super::*;

    #[tokio::test]
    async fn a_connection_that_breaks_is_the_engines_end_and_a_refusal_is_none() {
        let broken = stream::iter([Err::<Frame<Bytes>, _>("connection reset by peer")]);
        let lost = grpc::Messages::of(StreamBody::new(broken)).next::<Nothing>().await.unwrap_err();
        assert_eq!(fault(&lost).kind, FaultKind::EngineAway);
        let refused = Refusal::new(grpc::code::UNKNOWN, "failed to solve: no such stage");
        assert_eq!(fault(&refused), Fault::permanent("no such stage"));
    }

    #[test]
    fn layers_are_called_by_what_the_builder_says_it_has_left() {
        let dir = tempfile::tempdir().unwrap();
        let left = [(Layout::at(dir.path()), "mine".to_owned())];
        let digest = format!("sha256:{}", "1".repeat(64));
        let manifest = format!(r#"{{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"{digest}","size":7}}"#);
        let solved = SolveResponse { exporter_response: [("cache.manifest".to_owned(), manifest)].into() };
        name_layers(&solved, &left).unwrap();
        assert_eq!(left[0].0.digest_of("mine").unwrap(), Some(digest));
        assert!(name_layers(&SolveResponse::default(), &left).unwrap_err().message.contains("`build.cache_to`"));
        assert_eq!(name_layers(&SolveResponse::default(), &[]), Ok(()));
    }
}
