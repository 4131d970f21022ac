//! Who builds an image just now: one after the other, and a context that several builds want at one moment is built once for all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex as Lock, PoisonError};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::model::build::Build;
use crate::plan::action::Fault;

/// Builds that are asked for within this time take one and the same image as their context.
const AT_ONE_MOMENT: Duration = Duration::from_millis(100);

/// The last build of each image, held by whoever builds it.
#[derive(Debug, Default)]
pub(super) struct Turns(Lock<HashMap<String, Arc<Mutex<Option<Built>>>>>);

/// What has come of a build.
#[derive(Debug)]
struct Built {
    of: Build,
    begun: Instant,
    result: Result<(), Fault>,
}

impl Turns {
    /// Does this work when it is its turn. One that is only a context, and was asked for at a moment, will do as it came of a build that
    /// began not before that.
    pub(super) async fn take(
        &self,
        image: &str,
        build: &Build,
        shared: Option<Instant>,
        work: impl Future<Output = Result<(), Fault>>,
    ) -> Result<(), Fault> {
        let turn = Arc::clone(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(image.to_owned()).or_default());
        let mut last = turn.lock().await;
        if let (Some(Built { of, begun, result }), Some(asked)) = (&*last, shared)
            && *begun + AT_ONE_MOMENT >= asked
            && of == build
        {
            return result.clone();
        }
        // What is given up is of nobody.
        *last = None;
        let begun = Instant::now();
        let result = work.await;
        *last = Some(Built { of: build.clone(), begun, result: result.clone() });
        result
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures_util::future::join;
    use tokio::task::yield_now;

    use super::*;

    #[tokio::test]
    async fn what_several_builds_take_as_their_context_at_one_moment_is_built_once() {
        let (turns, built) = (Turns::default(), AtomicU32::new(0));
        let other = Build { target: Some("other".to_owned()), ..Build::default() };
        let now = Instant::now();
        let long_ago = now + Duration::from_secs(60);
        let take = async |build: &Build, shared: Option<Instant>| {
            let work = async {
                built.fetch_add(1, Ordering::Relaxed);
                yield_now().await;
                Err(Fault::permanent("no"))
            };
            turns.take("base", build, shared, work).await.unwrap_err().message
        };
        let build = Build::default();
        let (one, two) = join(take(&build, Some(now)), take(&build, Some(now))).await;
        assert_eq!((one.as_str(), two.as_str(), built.load(Ordering::Relaxed)), ("no", "no", 1));
        // For itself, of another build, and for who asks when it was built long ago.
        for (build, shared) in [(&build, None), (&other, Some(now)), (&other, Some(long_ago))] {
            let before = built.load(Ordering::Relaxed);
            take(build, shared).await;
            assert_eq!(built.load(Ordering::Relaxed), before + 1, "{shared:?}");
        }
    }
}
