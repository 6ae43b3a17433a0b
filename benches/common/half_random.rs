//! Bytes for layers of benchmarks.

/// Bytes that compress to about half, the same every time.
pub(crate) fn half_random(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(count + 16);
    while bytes.len() < count {
        // xorshift64*, by Vigna.
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
        bytes.extend_from_slice(b"the same");
    }
    bytes.truncate(count);
    bytes
}
