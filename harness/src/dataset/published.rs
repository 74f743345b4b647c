//! Published data sets: checksums of the files, and the servers.

/// Checksums of one published file, in hex.
#[derive(Clone, Copy, Debug)]
pub struct Published {
    /// MD5 of the unpacked file, from the publisher.
    pub md5: Option<&'static str>,
    /// SHA-256 of the unpacked file, computed from a file with that MD5.
    pub sha256: Option<&'static str>,
    /// SHA-256 of the published `.gz`.
    pub gz_sha256: Option<&'static str>,
}

const fn known(md5: &'static str, sha256: &'static str, gz: &'static str) -> Published {
    Published { md5: Some(md5), sha256: Some(sha256), gz_sha256: Some(gz) }
}

const fn only_gz(gz: &'static str) -> Published {
    Published { md5: None, sha256: None, gz_sha256: Some(gz) }
}

const fn generated(sha256: &'static str) -> Published {
    Published { md5: None, sha256: Some(sha256), gz_sha256: None }
}

/// Every published set.
pub(super) const PUBLISHED: [(&str, [Published; 4]); 5] = [
    (
        "mnist",
        [
            known(
                "6bbc9ace898e44ae57da46a324031adb",
                "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
                "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            ),
            known(
                "a25bea736e30d166cdddb491f175f624",
                "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
                "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            ),
            known(
                "2646ac647ad5339dbf082846283269ea",
                "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
                "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            ),
            known(
                "27ae3e4e09519cfbb04c329615203637",
                "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
                "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            ),
        ],
    ),
    (
        "fashion-mnist",
        [
            known(
                "f4a8712d7a061bf5bd6d2ca38dc4d50a",
                "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
                "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            ),
            known(
                "9018921c3c673c538a1fc5bad174d6f9",
                "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
                "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            ),
            known(
                "8181f5470baa50b63fa0f6fddb340f0a",
                "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
                "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            ),
            known(
                "15d484375f8d13e6eb1aabb0c3f46965",
                "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
                "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            ),
        ],
    ),
    (
        "kmnist",
        [
            only_gz("51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4"),
            only_gz("e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17"),
            only_gz("edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5"),
            only_gz("20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c"),
        ],
    ),
    (
        "synth",
        [
            generated("83cbfd86fa21e26b4373ceb14db08ab10121d819f14c25eafe7fccc5112a2a3b"),
            generated("182283ac3a6c8948267beffa41b01f0c7f4e0484d39a15c631f59eed17c77d5b"),
            generated("345683185de2020d75c689087bcaabe9f427e94e973d84c3b25b68959152e4fa"),
            generated("3e1af7735862d7c96b260bce5a062b57a0104b0ef5299797a97bbc8205cd33ff"),
        ],
    ),
    (
        // The labels are those of synth.
        "synth-maj",
        [
            generated("f91dbcb3a239f6b6cc40d6025ab42fdb01147078ac0e3f2c7826892e40128c5e"),
            generated("182283ac3a6c8948267beffa41b01f0c7f4e0484d39a15c631f59eed17c77d5b"),
            generated("4ac605081a5ed7b7515babd7d42b1bd40bf5b6751131f3db45088a01aee468b1"),
            generated("3e1af7735862d7c96b260bce5a062b57a0104b0ef5299797a97bbc8205cd33ff"),
        ],
    ),
];

/// Checksums of the data set `name`, in the order of the files; `synth` is the set with the default seed and
/// sizes.
pub fn published(name: &str) -> Option<&'static [Published; 4]> {
    PUBLISHED.iter().find(|set| set.0 == name).map(|set| &set.1)
}

/// Server folders of each set, which hold the four files as `.gz`.
pub(super) const MIRRORS: [(&str, &[&str]); 3] = [
    (
        "mnist",
        &[
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ],
    ),
    (
        "fashion-mnist",
        &[
            "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        ],
    ),
    ("kmnist", &["http://codh.rois.ac.jp/kmnist/dataset/kmnist/"]),
];

/// How a data set is downloaded, for messages; without dashes, as the Python package shows them too.
pub fn how_to_download(name: &str) -> String {
    let needs = if cfg!(feature = "fetch") { "" } else { " (built with the cargo feature fetch)" };
    format!("harness data fetch {name}{needs}")
}

/// Whether the set `name` can be fetched.
pub fn is_published(name: &str) -> bool {
    MIRRORS.iter().any(|(known, _)| *known == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_published_checksum_has_its_length() {
        for file in PUBLISHED.iter().flat_map(|set| &set.1) {
            assert!(file.md5.is_none_or(|hex| hex.len() == 32));
            assert!([file.sha256, file.gz_sha256].iter().flatten().all(|hex| hex.len() == 64));
        }
    }
}
