//! Mutations of files. They are small, because nearly valid files reach more of a reader.

/// A mutation of a file: kind, position, value.
pub type Change = (u8, u16, u64);

/// The mutation of a seed (splitmix64).
pub(super) fn drawn(seed: u32) -> Change {
    let mut state = u64::from(seed);
    let mut next = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let x = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    };
    (next() as u8, next() as u16, next())
}

/// Overwrites a byte, flips a bit, or sometimes truncates the file.
pub(super) fn byte(bytes: &mut Vec<u8>, (kind, place, value): Change) {
    if bytes.is_empty() {
        return;
    }
    let at = usize::from(place) % bytes.len();
    match kind % 8 {
        0 => bytes.truncate(at),
        1 => bytes.push(value as u8),
        2..5 => bytes[at] = value as u8,
        _ => bytes[at] ^= 1 << (value % 8),
    }
}

/// Replaces a number in a text by another one; if there is none, changes a byte.
pub(super) fn text(text: &mut Vec<u8>, (kind, place, value): Change) {
    let starts: Vec<usize> = (0..text.len())
        .filter(|&i| text[i].is_ascii_digit() && (i == 0 || !text[i - 1].is_ascii_digit()))
        .collect();
    if kind.is_multiple_of(2) || starts.is_empty() {
        return byte(text, (kind / 2, place, value));
    }
    let start = starts[usize::from(place) % starts.len()];
    let end = (start..text.len()).find(|&i| !text[i].is_ascii_digit()).unwrap_or(text.len());
    // Numbers of any size: the shift leaves 1 to 64 bits.
    text.splice(start..end, (value >> (kind / 2 % 64)).to_string().into_bytes());
}

/// Repeats a line of a text elsewhere, or removes it; otherwise changes a number or a byte.
pub(super) fn lines(whole: &mut Vec<u8>, (kind, place, value): Change) {
    if kind % 8 > 1 {
        return text(whole, (kind / 8 + 32 * (kind % 8), place, value));
    }
    let mut lines: Vec<Vec<u8>> = whole.split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
    let line = lines.remove(usize::from(place) % lines.len());
    if kind / 8 % 2 == 1 {
        let at = value as usize % (lines.len() + 1);
        lines.insert(at, line.clone());
        if kind.is_multiple_of(8) {
            lines.insert(at, line);
        }
    }
    *whole = lines.join(&b'\n');
}
