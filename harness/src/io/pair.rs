//! Two numbers in a list of a file.

use serde::de::{Deserialize, Deserializer, Error};

/// Reads a list of exactly two. For a fixed-size array, the reader of TOML takes the first two of a longer list without a
/// word.
///
/// # Errors
/// Those of the deserializer, and if the list is longer or shorter.
pub fn pair<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<[T; 2], D::Error> {
    let list = Vec::<T>::deserialize(from)?;
    let n = list.len();
    list.try_into().map_err(|_| Error::invalid_length(n, &"two numbers"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    struct Holder {
        #[serde(deserialize_with = "pair")]
        range: [f32; 2],
    }

    #[test]
    fn a_list_of_another_length_is_refused() {
        let read = |text: &str| toml::from_str::<Holder>(text);
        assert_eq!(read("range = [-1, 2.5]").unwrap().range, [-1.0, 2.5]);
        for text in ["range = [1.0]", "range = [1.0, 2.0, 3.0]", "range = []"] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains("expected two numbers"), "{error}");
        }
    }
}
