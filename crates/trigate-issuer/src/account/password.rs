//! Is this the password? Argon2id on threads of its own, at low priority, behind a bounded queue: a flood of logins
//! neither takes the memory nor the time of anything else (L05).
//!
//! Never hashes more than [`MAX_PASSWORD_BYTES`], and never tells an unknown account from a wrong password by its time (L01).

use argon2::{
    Algorithm, Argon2, Block, Params, Version,
    password_hash::phc::{Output, ParamsString, PasswordHash, Salt},
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
use subtle::ConstantTimeEq;
use tokio::sync::oneshot;
use trigate_core::port::{Hasher, HasherError, Rng};
use zeroize::Zeroizing;

/// Longer ones are refused before any hashing, with the answer of a wrong password.
pub const MAX_PASSWORD_BYTES: usize = 1024;

/// Memory in KiB, passes, lanes: OWASP's second choice, 15 ms on one core.
const COST: (u32, u32, u32) = (19 * 1024, 2, 1);
const SALT_BYTES: usize = 16;
const HASH_BYTES: usize = 32;
/// An imported hash may want more memory than ours, but not any amount.
const MAX_MEMORY_KIB: usize = 128 * 1024;
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
    /// `threads` of them, at least one; memory stays at `threads` × 19 MiB, beside what imported hashes want.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(threads: usize, rng: Arc<dyn Rng>) -> Result<Self, PoolError> {
        Self::with_queue(threads.max(1), threads.max(1) * QUEUE_PER_THREAD, rng)
    }

    fn with_queue(threads: usize, queue: usize, rng: Arc<dyn Rng>) -> Result<Self, PoolError> {
        // Of a password that nobody knows, at today's cost: dice in place of a hash. (To make it by hashing would leave 19 MiB
        // behind in a gate at which nobody ever logs in.)
        let mut out = [0; HASH_BYTES];
        rng.fill(&mut out);
        let decoy = argon2().and_then(|argon2| phc(&argon2, &salt(&*rng), &out));
        let decoy = decoy.map_err(|error| PoolError(error.to_string()))?;
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
    let mut memory = Memory::default();
    loop {
        let job = inbox.lock().unwrap_or_else(PoisonError::into_inner).recv();
        // A closed answer means that the browser has gone: nothing is sent, nothing is lost.
        match job {
            Ok(Job::Hash { password, salt, answer }) => {
                drop(answer.send(hash(password.as_bytes(), &salt, &mut memory)))
            }
            Ok(Job::Verify { answer, .. }) if answer.is_closed() => {}
            Ok(Job::Verify { password, phc, answer }) => {
                let _ = answer.send(verify(password.as_bytes(), &phc, &mut memory));
            }
            Err(_) => return,
        }
    }
}

fn salt(rng: &dyn Rng) -> [u8; SALT_BYTES] {
    let mut salt = [0; SALT_BYTES];
    rng.fill(&mut salt);
    salt
}

/// What one thread hashes in. Kept from job to job: given back each time, 19 MiB at once leave holes that the next small
/// allocation breaks up, and a flood of logins takes ten times the memory that it needs.
#[derive(Default)]
struct Memory(Vec<Block>);

impl Memory {
    fn run(&mut self, argon2: &Argon2<'_>, password: &[u8], salt: &[u8], out: &mut [u8]) -> Result<(), HasherError> {
        let blocks = argon2.params().block_count();
        if blocks > MAX_MEMORY_KIB {
            return Err(HasherError::Unreadable);
        }
        self.0.resize(blocks.max(self.0.len()), Block::new());
        let outcome = argon2.hash_password_into_with_memory(password, salt, out, &mut self.0);
        // What an imported hash needed beyond ours is not kept.
        self.0.truncate(COST.0 as usize);
        self.0.shrink_to_fit();
        outcome.map_err(|_| HasherError::Unreadable)
    }
}

/// At today's cost.
fn argon2() -> Result<Argon2<'static>, HasherError> {
    let (cost_kib, passes, lanes) = COST;
    let params = Params::new(cost_kib, passes, lanes, Some(HASH_BYTES)).map_err(|_| HasherError::Unreadable)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn hash(password: &[u8], salt: &[u8], memory: &mut Memory) -> Result<String, HasherError> {
    let (argon2, mut out) = (argon2()?, [0; HASH_BYTES]);
    memory.run(&argon2, password, salt, &mut out)?;
    phc(&argon2, salt, &out)
}

fn phc(argon2: &Argon2<'_>, salt: &[u8], out: &[u8]) -> Result<String, HasherError> {
    let phc = PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(argon2.params()).map_err(|_| HasherError::Unreadable)?,
        salt: Some(Salt::new(salt).map_err(|_| HasherError::Unreadable)?),
        hash: Some(Output::new(out).map_err(|_| HasherError::Unreadable)?),
    };
    Ok(phc.to_string())
}

/// By the algorithm and parameters that stand in `phc`.
fn verify(password: &[u8], phc: &str, memory: &mut Memory) -> Result<bool, HasherError> {
    let phc = PasswordHash::new(phc).map_err(|_| HasherError::Unreadable)?;
    let (Some(salt), Some(known)) = (&phc.salt, &phc.hash) else { return Err(HasherError::Unreadable) };
    let algorithm = Algorithm::try_from(phc.algorithm.as_str()).map_err(|_| HasherError::Unreadable)?;
    let version = phc.version.map(Version::try_from).transpose().map_err(|_| HasherError::Unreadable)?;
    let params = Params::try_from(&phc).map_err(|_| HasherError::Unreadable)?;
    let argon2 = Argon2::new(algorithm, version.unwrap_or_default(), params);
    let mut out = Zeroizing::new(vec![0; known.len()]);
    memory.run(&argon2, password, salt, &mut out)?;
    // SECURITY: constant time.
    Ok(out.as_slice().ct_eq(known.as_bytes()).into())
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

    /// The reference implementation's own test vectors, in the forms that other systems store.
    #[tokio::test]
    async fn hashes_of_other_systems_are_read_by_their_own_parameters() {
        let pool = pool(1, 8);
        let known = [
            "$argon2i$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$wWKIMhR9lyDFvRz9YTZweHKfbftvj+qf+YFY4NeBbtA",
            "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
        ];
        for phc in known {
            assert_eq!(pool.verify(text("password"), Some(phc.into())).await, Ok(true), "{phc}");
            assert_eq!(pool.verify(text("passwore"), Some(phc.into())).await, Ok(false), "{phc}");
        }
        let own = pool.hash(text("x")).await.unwrap();
        assert_eq!(pool.verify(text("x"), Some(own)).await, Ok(true), "after a larger one");
        for bad in [
            "$argon2id$v=19$m=4194304,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
            "$scrypt$ln=1,r=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
            "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ",
            "",
        ] {
            assert_eq!(pool.verify(text("x"), Some(bad.into())).await, Err(HasherError::Unreadable), "{bad}");
        }
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
