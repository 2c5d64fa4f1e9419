//! What is left to chance is drawn from the seed and from what it is for: the same in whatever order things are drawn.

/// A number from 0 up to, but without, 1.
pub(crate) fn draw(seed: u64, of: &[&str]) -> f64 {
    // FNV-1a takes everything in, the finalizer of SplitMix64 stirs it.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut take = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    seed.to_le_bytes().into_iter().for_each(&mut take);
    for part in of {
        part.bytes().chain([0xff]).for_each(&mut take);
    }
    let mut mixed = hash.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    (mixed >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_question_gets_the_same_number() {
        assert_eq!(draw(1, &["a", "b"]).to_bits(), draw(1, &["a", "b"]).to_bits());
        assert_ne!(draw(1, &["a", "b"]).to_bits(), draw(1, &["ab"]).to_bits());
        assert_ne!(draw(1, &["a"]).to_bits(), draw(2, &["a"]).to_bits());
    }

    #[test]
    fn numbers_are_spread_evenly() {
        let drawn: Vec<f64> = (0..4000).map(|n| draw(7, &["x", &n.to_string()])).collect();
        assert!(drawn.iter().all(|number| (0.0..1.0).contains(number)));
        for tenth in 0..10 {
            let low = f64::from(tenth) / 10.0;
            let count = drawn.iter().filter(|number| (low..low + 0.1).contains(number)).count();
            assert!((300..500).contains(&count), "{tenth}: {count}");
        }
    }
}
