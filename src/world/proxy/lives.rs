//! The lives behind one port: whose turn it is, and who waits until one listens.
//!
//! However many clients wait, a life that does not listen yet is knocked at once in [`AGAIN`], by one of them for all.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::{Mutex as Queue, Notify, Semaphore};
use tokio::time::sleep;

use crate::base::name::UnitId;
use crate::world::clock;
use crate::world::kernel::sockets;

/// Between two attempts to reach a life that does not listen yet.
const AGAIN: Duration = Duration::from_millis(20);
/// So long a client is waited with that has asked and closed its side. It may still read, or be gone: that looks the same from here.
const HALF_CLOSED: Duration = Duration::from_secs(30);

/// The lives behind one port.
#[derive(Debug)]
pub(super) struct Lives {
    present: Mutex<Vec<(UnitId, Arc<Life>)>>,
    /// Told when one has come, or has begun to listen.
    news: Notify,
    /// Whoever has it looks again after a while; the others hear of it.
    scout: Queue<()>,
    /// Those who wait have a place each: their descriptors are the supervisor's too.
    pub(super) places: Arc<Semaphore>,
}

/// One life behind a port.
#[derive(Debug)]
pub struct Life {
    pub(super) port: u16,
    door: Mutex<Door>,
    /// Connections that it has not answered a byte to.
    unanswered: Mutex<usize>,
    fewer: Condvar,
}

/// What is known of whether a life listens.
#[derive(Debug, Clone, Copy)]
enum Door {
    Open,
    /// Not to be knocked at before this.
    Closed(Instant),
}

impl Lives {
    /// None yet; so many clients may wait for one.
    pub(super) fn new(places: usize) -> Self {
        let places = Arc::new(Semaphore::new(places));
        Self { present: Mutex::default(), news: Notify::new(), scout: Queue::new(()), places }
    }

    /// One has come, which listens at this port or will.
    pub(super) fn begin(&self, unit: &UnitId, port: u16) {
        let door = Mutex::new(Door::Closed(Instant::now()));
        let life = Life { port, door, unanswered: Mutex::new(0), fewer: Condvar::new() };
        self.present().push((unit.clone(), Arc::new(life)));
        self.news.notify_waiters();
    }

    /// The present life of a unit.
    #[cfg(test)]
    pub(super) fn of(&self, unit: &UnitId) -> Option<Arc<Life>> {
        self.present().iter().find(|(of, _)| of == unit).map(|(_, life)| Arc::clone(life))
    }

    /// The same, which gets no turn any more.
    pub(super) fn end(&self, unit: &UnitId) -> Option<Arc<Life>> {
        let mut present = self.present();
        let at = present.iter().position(|(of, _)| of == unit)?;
        Some(present.remove(at).1)
    }

    fn present(&self) -> MutexGuard<'_, Vec<(UnitId, Arc<Life>)>> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next life that may be tried: one that listens, or that nobody has knocked at for a while.
    fn next(&self) -> Option<Turn> {
        let mut present = self.present();
        let at = present.iter().position(|(_, life)| life.may_be_tried())?;
        present.rotate_left(at + 1);
        let life = Arc::clone(&present.last()?.1);
        *life.unanswered() += 1;
        Some(Turn { life })
    }

    /// A connection to a life, as soon as one listens.
    pub(super) async fn reach(&self) -> (TcpStream, Turn) {
        loop {
            // Made before the look, so that nothing is missed.
            let news = self.news.notified();
            if let Some(turn) = self.next() {
                match connect(turn.life.port).await {
                    Ok(server) => {
                        if turn.life.opens() {
                            self.news.notify_waiters();
                        }
                        return (server, turn);
                    }
                    // It does not listen yet, or no longer.
                    Err(_) => turn.life.closes(),
                }
                continue;
            }
            let is_nobody_there = self.present().is_empty();
            tokio::select! {
                () = news => {}
                () = self.look_again(), if !is_nobody_there => {}
            }
        }
    }

    /// One at a time.
    async fn look_again(&self) {
        let _scout = self.scout.lock().await;
        sleep(AGAIN).await;
    }
}

impl Life {
    fn door(&self) -> MutexGuard<'_, Door> {
        self.door.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whoever is told yes of a closed door is the one who knocks.
    fn may_be_tried(&self) -> bool {
        let mut door = self.door();
        match *door {
            Door::Open => true,
            Door::Closed(until) if clock::is_past(until) => {
                *door = Door::Closed(clock::deadline(AGAIN));
                true
            }
            Door::Closed(_) => false,
        }
    }

    /// It has been reached. Whether that is new.
    fn opens(&self) -> bool {
        matches!(std::mem::replace(&mut *self.door(), Door::Open), Door::Closed(_))
    }

    /// It has not been reached.
    fn closes(&self) {
        *self.door() = Door::Closed(clock::deadline(AGAIN));
    }

    pub(super) fn unanswered(&self) -> MutexGuard<'_, usize> {
        self.unanswered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until every connection that went to it has got an answer, or the beginning of one; at most so long.
    pub fn drain(&self, at_most: Duration) {
        let deadline = clock::deadline(at_most);
        let mut unanswered = self.unanswered();
        while *unanswered > 0 && !clock::is_past(deadline) {
            let waited = self.fewer.wait_timeout(unanswered, clock::until(deadline));
            unanswered = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// A connection that a life has not answered yet.
pub(super) struct Turn {
    life: Arc<Life>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        *self.life.unanswered() -= 1;
        self.life.fewer.notify_all();
    }
}

async fn connect(port: u16) -> io::Result<TcpStream> {
    match TcpStream::connect(("127.0.0.1", port)).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => TcpStream::connect(("::1", port)).await,
        other => other,
    }
}

/// Waits until nobody is left at the other end of a connection that nobody reads yet. Who closes its side without a question has
/// gone, and so has who is cut off; who has asked may wait for the answer, though not for ever.
pub(super) async fn is_left_by(client: &TcpStream) {
    let cut_off = async { client.ready(Interest::ERROR).await };
    let left = async {
        let closed = sockets::closed_by_peer(client).await;
        if closed.is_ok() && matches!(client.peek(&mut [0]).await, Ok(1..)) {
            sleep(HALF_CLOSED).await;
        }
    };
    tokio::select! {
        _ = cut_off => {}
        () = left => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(replica: u32) -> UnitId {
        format!("web:{replica}").parse().unwrap()
    }

    #[test]
    fn a_life_that_does_not_listen_is_knocked_at_by_one_of_all() {
        let lives = Lives::new(1);
        assert!(lives.next().is_none());
        lives.begin(&unit(1), 1);
        lives.begin(&unit(2), 2);
        let knocking = [lives.next().unwrap(), lives.next().unwrap()];
        assert_eq!(knocking.each_ref().map(|turn| turn.life.port), [1, 2]);
        // As if it were a long time until then.
        let far = Door::Closed(clock::deadline(Duration::from_secs(1000)));
        knocking.iter().for_each(|turn| *turn.life.door() = far);
        assert!(lives.next().is_none(), "somebody is at both doors");
        assert!(knocking[1].life.opens() && !knocking[1].life.opens());
        assert_eq!([(); 3].map(|()| lives.next().unwrap().life.port), [2; 3], "whoever comes goes to the one that listens");
        *knocking[0].life.door() = Door::Closed(Instant::now());
        assert_eq!(lives.next().unwrap().life.port, 1, "and after a while one knocks again");
    }
}
