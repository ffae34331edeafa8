//! Is this the password? Argon2id on threads of its own, at low priority, behind a bounded queue: a flood of logins
//! neither takes the memory nor the time of anything else (L05).
//!
//! Never hashes more than [`MAX_PASSWORD_BYTES`], and never tells an unknown account from a wrong password by its time (L01).

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use async_trait::async_trait;
use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
};
use tokio::sync::oneshot;
use trigate_core::port::{Hasher, HasherError, Rng};
use zeroize::Zeroizing;

/// Longer ones are refused before any hashing, with the answer of a wrong password.
pub const MAX_PASSWORD_BYTES: usize = 1024;

/// Memory in KiB, passes, lanes: OWASP's second choice, 15 ms on one core.
const COST: (u32, u32, u32) = (19 * 1024, 2, 1);
const SALT_BYTES: usize = 16;
/// Jobs that wait for each thread before a login is told to come again: half a second of work.
const QUEUE_PER_THREAD: usize = 32;

/// The threads that hash. Dropping the pool ends them when their queue is empty.
pub struct Argon2Pool {
    jobs: SyncSender<Job>,
    decoy: Arc<str>,
    rng: Arc<dyn Rng>,
}

enum Job {
    Hash { password: Zeroizing<String>, salt: [u8; SALT_BYTES], answer: oneshot::Sender<Result<String, HasherError>> },
    Verify { password: Zeroizing<String>, phc: Arc<str>, answer: oneshot::Sender<Result<bool, HasherError>> },
}

/// The pool could not start.
#[derive(Debug, thiserror::Error)]
#[error("the password hashing threads could not start: {0}")]
pub struct PoolError(String);

impl Argon2Pool {
    /// `threads` of them, at least one; memory stays below `threads` × 19 MiB.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(threads: usize, rng: Arc<dyn Rng>) -> Result<Self, PoolError> {
        Self::with_queue(threads.max(1), threads.max(1) * QUEUE_PER_THREAD, rng)
    }

    fn with_queue(threads: usize, queue: usize, rng: Arc<dyn Rng>) -> Result<Self, PoolError> {
        let mut secret = Zeroizing::new([0; 32]);
        rng.fill(&mut *secret);
        // A password that nobody has, at today's cost.
        let decoy = hash(&*secret, &salt(&*rng)).map_err(|error| PoolError(error.to_string()))?;
        let (jobs, inbox) = sync_channel(queue);
        let inbox = Arc::new(Mutex::new(inbox));
        for number in 0..threads {
            let inbox = inbox.clone();
            let started = thread::Builder::new().name(format!("argon2-{number}")).spawn(move || work(&inbox));
            started.map_err(|error| PoolError(error.to_string()))?;
        }
        Ok(Self { jobs, decoy: decoy.into(), rng })
    }

    /// INVARIANT: never waits; a full queue is an answer.
    fn send(&self, job: Job) -> Result<(), HasherError> {
        self.jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) | TrySendError::Disconnected(_) => HasherError::Busy,
        })
    }
}

#[async_trait]
impl Hasher for Argon2Pool {
    async fn hash(&self, password: Zeroizing<String>) -> Result<String, HasherError> {
        let (answer, result) = oneshot::channel();
        self.send(Job::Hash { password, salt: salt(&*self.rng), answer })?;
        result.await.map_err(|_| HasherError::Busy)?
    }

    async fn verify(&self, password: Zeroizing<String>, phc: Option<String>) -> Result<bool, HasherError> {
        if password.len() > MAX_PASSWORD_BYTES {
            return Ok(false);
        }
        let known = phc.is_some();
        let phc = phc.map_or_else(|| self.decoy.clone(), Arc::from);
        let (answer, result) = oneshot::channel();
        self.send(Job::Verify { password, phc, answer })?;
        let right = result.await.map_err(|_| HasherError::Busy)??;
        Ok(known && right)
    }
}

impl fmt::Debug for Argon2Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Argon2Pool")
    }
}

fn work(inbox: &Mutex<Receiver<Job>>) {
    // Behind whatever serves requests. Where the system refuses, the threads are merely not as polite.
    let _ = rustix::process::nice(10);
    loop {
        let job = inbox.lock().unwrap_or_else(PoisonError::into_inner).recv();
        // A closed answer means that the browser has gone: nothing is sent, nothing is lost.
        match job {
            Ok(Job::Hash { password, salt, answer }) => drop(answer.send(hash(password.as_bytes(), &salt))),
            Ok(Job::Verify { answer, .. }) if answer.is_closed() => {}
            Ok(Job::Verify { password, phc, answer }) => drop(answer.send(verify(password.as_bytes(), &phc))),
            Err(_) => return,
        }
    }
}

fn salt(rng: &dyn Rng) -> [u8; SALT_BYTES] {
    let mut salt = [0; SALT_BYTES];
    rng.fill(&mut salt);
    salt
}

fn hash(password: &[u8], salt: &[u8]) -> Result<String, HasherError> {
    let (memory, passes, lanes) = COST;
    let params = Params::new(memory, passes, lanes, None).map_err(|_| HasherError::Unreadable)?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let phc: PasswordHash = argon2.hash_password_with_salt(password, salt).map_err(|_| HasherError::Unreadable)?;
    Ok(phc.to_string())
}

/// By the parameters that stand in `phc`.
fn verify(password: &[u8], phc: &str) -> Result<bool, HasherError> {
    let parsed = PasswordHash::new(phc).map_err(|_| HasherError::Unreadable)?;
    Ok(Argon2::default().verify_password(password, &parsed).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use trigate_core::port::testing::SeededRng;

    fn text(password: &str) -> Zeroizing<String> {
        Zeroizing::new(password.to_owned())
    }

    fn pool(threads: usize, queue: usize) -> Argon2Pool {
        Argon2Pool::with_queue(threads, queue, Arc::new(SeededRng::new(1))).unwrap()
    }

    #[tokio::test]
    async fn l01_the_right_password_alone_is_right_and_an_unknown_account_never_is() {
        let pool = pool(1, 8);
        let phc = pool.hash(text("correct horse")).await.unwrap();
        assert!(phc.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{phc}");
        assert!(pool.verify(text("correct horse"), Some(phc.clone())).await.unwrap());
        assert!(!pool.verify(text("correct hors"), Some(phc.clone())).await.unwrap());
        assert!(!pool.verify(text("correct horse"), None).await.unwrap());
        assert_ne!(phc, pool.hash(text("correct horse")).await.unwrap(), "salted");
        assert_eq!(pool.verify(text("x"), Some("plain".into())).await, Err(HasherError::Unreadable));
    }

    #[tokio::test]
    async fn l05_long_passwords_work_up_to_the_cap_and_are_not_hashed_beyond() {
        let pool = pool(1, 8);
        for length in [64, MAX_PASSWORD_BYTES] {
            let password = "x".repeat(length);
            let phc = pool.hash(text(&password)).await.unwrap();
            assert!(pool.verify(text(&password), Some(phc)).await.unwrap());
        }
        // A queue that nobody serves would be full at once: the answer shows that nothing was queued.
        let (jobs, _inbox) = sync_channel(0);
        let idle = Argon2Pool { jobs, decoy: "x".into(), rng: Arc::new(SeededRng::new(2)) };
        assert_eq!(idle.verify(text(&"x".repeat(1_000_000)), None).await, Ok(false));
        assert_eq!(idle.verify(text("short"), None).await, Err(HasherError::Busy));
    }

    #[tokio::test]
    async fn l05_a_flood_of_logins_is_refused_and_not_queued() {
        let pool = Arc::new(pool(1, 4));
        let tries = (0..200).map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move { pool.verify(text("guess"), None).await })
        });
        let mut busy = 0;
        for attempt in tries.collect::<Vec<_>>() {
            let outcome = tokio::time::timeout(Duration::from_secs(20), attempt).await.unwrap().unwrap();
            busy += usize::from(outcome == Err(HasherError::Busy));
        }
        assert!(busy >= 100, "only {busy} of 200 were refused");
    }
}
