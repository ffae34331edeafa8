//! Was this RSA modulus made by the library whose primes could be guessed (CVE-2017-15361, "ROCA")?
//!
//! Such primes are p = k·M + (65537^a mod M), so the modulus is a power of 65537 modulo each small prime that divides M.
//! Of other moduli about one in 2^27 looks so, and is refused with them.

/// Primes that divide M for every key length.
const PRIMES: [u16; 38] = [
    3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109,
    113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
];

pub(super) fn is_marked(modulus: &[u8]) -> bool {
    PRIMES.into_iter().all(|prime| is_power_of_65537(remainder(modulus, prime), prime))
}

/// Big-endian bytes modulo a small prime.
fn remainder(number: &[u8], prime: u16) -> u16 {
    let prime = u32::from(prime);
    let rest = number.iter().fold(0u32, |rest, byte| (rest * 256 + u32::from(*byte)) % prime);
    u16::try_from(rest).unwrap_or(u16::MAX)
}

fn is_power_of_65537(number: u16, prime: u16) -> bool {
    let (prime, number) = (u32::from(prime), u32::from(number));
    let generator = 65_537 % prime;
    let mut power = 1;
    for _ in 0..prime {
        if power == number {
            return true;
        }
        power = power * generator % prime;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remainders_and_powers_are_those_of_a_pocket_calculator() {
        for (number, prime, rest) in
            [(&[1, 0][..], 3, 1), (&[1, 0, 0], 7, 2), (&[0xff, 0xff, 0xff], 11, 4), (&[], 5, 0)]
        {
            assert_eq!(remainder(number, prime), rest, "{number:?} % {prime}");
        }
        // 65537 is 10 modulo 11 and modulo 37, and 2 modulo 5.
        let powers = |prime| (0..prime).filter(|number| is_power_of_65537(*number, prime)).collect::<Vec<_>>();
        assert_eq!(powers(5), [1, 2, 3, 4]);
        assert_eq!(powers(11), [1, 10]);
        assert_eq!(powers(37), [1, 10, 26]);
    }
}
