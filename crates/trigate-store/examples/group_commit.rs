//! How many durable changes a second does a SQLite store make, with one writer and with 64?
//! `cargo run -p trigate-store --release --example group_commit`

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "an example; it measures real time")]

use std::{sync::Arc, time::Instant};
use trigate_core::{Timestamp, port::testing::StoppedClock};
use trigate_store::{Location, contract::World, open};

#[tokio::main]
async fn main() {
    let folder = tempfile::tempdir_in(std::env::current_dir().unwrap()).unwrap();
    let clock = StoppedClock::at(Timestamp::from_seconds(1_800_000_000));
    let store = open(Location::Sqlite(folder.path().join("bench.db")), Arc::new(clock.clone())).await.unwrap();
    let world = World::new(store, clock);
    for (writers, changes) in [(1, 2_000), (64, 40_000)] {
        let started = Instant::now();
        let tasks: Vec<_> = (0..writers)
            .map(|_| {
                let world = world.clone();
                tokio::spawn(async move {
                    for _ in 0..changes / writers {
                        world.tenant.record_act(world.act("bench")).await.unwrap().gives_only();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let rate = f64::from(changes) / started.elapsed().as_secs_f64();
        println!("{writers:>3} writers: {rate:>8.0} durable acts/s");
    }
}
