//! What do ten million revoked tokens cost a gate, in CPU time and memory? `cargo run -p trigate-gates --release --example revocations [tokens] [file]`

use std::{
    error::Error,
    fs::File,
    hint::black_box,
    io::{BufReader, BufWriter, Write as _},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use trigate_core::{
    Position, Timestamp,
    change::RevokedToken,
    id::{TenantId, TokenId},
    port::testing::StoppedClock,
};
use trigate_gates::{KeptHeader, KeptTokens, Known};

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

/// Time that this thread had a core for; other programs do not count.
fn on_cpu() -> Duration {
    let read = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(read.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0))
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = on_cpu();
    let done = work();
    (done, on_cpu().saturating_sub(start))
}

/// Spread like digests, and made again without being kept.
fn token(n: u64) -> RevokedToken {
    let id = u128::from(n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    let keep_until = NOW.plus_seconds(i64::try_from(n % 86_400).unwrap_or(0));
    RevokedToken { position: Position(n + 1), id: TokenId::from_bits(id ^ (id >> 61)), keep_until }
}

fn gate() -> Known {
    Known::new(TenantId::default_tenant(), Arc::new(StoppedClock::at(NOW)))
}

fn resident_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let tokens: u64 = arguments.next().map_or(Ok(10_000_000), |text| text.parse())?;
    let path = arguments.next().map_or_else(|| std::env::temp_dir().join("trigate-revocations"), PathBuf::from);
    println!("resident before: {} MB", resident_mb());
    let known = gate();
    let ((), took) = timed(|| {
        for first in (0..tokens).step_by(10_000) {
            let page: Vec<RevokedToken> = (first..(first + 10_000).min(tokens)).map(token).collect();
            known.revoke_tokens(&page);
        }
    });
    println!("{tokens} tokens, in the feed's order: {took:?}, {} ns each", took.as_nanos() / u128::from(tokens));
    println!("{} bytes an entry, resident {} MB", known.revoked_token_bytes() as u64 / tokens, resident_mb());
    for (what, offset) in [("hit", 0), ("miss", tokens)] {
        let looks = 2_000_000;
        // A stride, so that each look goes to memory that was not touched lately.
        let ids: Vec<TokenId> = (0..looks).map(|n| token(offset + n * 7_919 % tokens).id).collect();
        let (found, took) = timed(|| ids.iter().filter(|id| black_box(known.is_token_revoked(**id))).count());
        println!("look-up, {what}: {} ns ({found} of {looks} found)", took.as_nanos() / u128::from(looks));
    }
    let header =
        KeptHeader { tenant: TenantId::default_tenant(), position: Position(tokens), fingerprint: String::new() };
    let (written, took) = timed(|| {
        let mut out = BufWriter::with_capacity(1 << 20, File::create(&path)?);
        known.write_revoked_tokens(&header, &mut out)?;
        out.flush()?;
        out.get_ref().sync_all()
    });
    written?;
    println!("kept in a file of {} MB in {took:?}, synced", std::fs::metadata(&path)?.len() >> 20);
    drop(known);
    let known = gate();
    let (loaded, took) = timed(|| {
        KeptTokens::open(BufReader::with_capacity(1 << 20, File::open(&path)?))
            .map_err(Box::<dyn Error>::from)?
            .load_into(&known)
            .map_err(Box::<dyn Error>::from)
    });
    println!("loaded {} from it in {took:?}, resident {} MB", loaded?, resident_mb());
    Ok(std::fs::remove_file(&path)?)
}
