//! How often may somebody try who has shown no good signature? So many times a minute from one address; all memory is
//! bounded.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
};
use trigate_core::{address::party, port::Monotonic};

const TRIES: u32 = 30;
const WINDOW_US: u64 = 60_000_000;
const MAX_ADDRESSES: usize = 10_000;

#[derive(Default)]
pub struct Strangers(Mutex<Window>);

#[derive(Default)]
struct Window {
    since: Monotonic,
    tries: HashMap<IpAddr, u32>,
}

impl Strangers {
    /// Counts a try before it is judged; `Err`: seconds to wait. With no room left, newcomers wait.
    pub fn admit(&self, address: IpAddr, now: Monotonic) -> Result<(), u64> {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if now.0.saturating_sub(window.since.0) >= WINDOW_US {
            *window = Window { since: now, tries: HashMap::new() };
        }
        let wait = (WINDOW_US - now.0.saturating_sub(window.since.0).min(WINDOW_US)).div_ceil(1_000_000).max(1);
        let (address, room) = (party(address), window.tries.len() < MAX_ADDRESSES);
        match window.tries.get_mut(&address) {
            Some(tries) if *tries >= TRIES => Err(wait),
            Some(tries) => {
                *tries += 1;
                Ok(())
            }
            None if room => {
                window.tries.insert(address, 1);
                Ok(())
            }
            None => Err(wait),
        }
    }

    /// The signature was good.
    pub fn forget(&self, address: IpAddr) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).tries.remove(&party(address));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_has_its_tries_and_a_flood_of_addresses_fills_no_memory() {
        let strangers = Strangers::default();
        let at = |n: u32| IpAddr::V4(n.into());
        let tries = |n, now| strangers.admit(at(n), Monotonic(now));
        for _ in 0..TRIES {
            assert_eq!(tries(1, 0), Ok(()));
        }
        assert_eq!(tries(1, 30_000_000), Err(30));
        assert_eq!(tries(2, 0), Ok(()));
        strangers.forget(at(1));
        assert_eq!(tries(1, 0), Ok(()));
        for n in 0..20_000 {
            let _ = tries(n, 0);
        }
        assert_eq!(strangers.0.lock().unwrap().tries.len(), MAX_ADDRESSES);
        assert!(tries(19_999, 0).is_err());
        assert_eq!(tries(19_999, WINDOW_US), Ok(()));
    }
}
