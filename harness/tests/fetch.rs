//! Fetching from servers on the loopback address that break off, stall, lie, and serve something else.
#![allow(clippy::unwrap_used)]

use flate2::Compression;
use flate2::write::GzEncoder;
use harness::dataset::fetch::Download;
use harness::dataset::files::FILES;
use harness::dataset::published::Published;
use harness::dataset::{Dataset, synth};
use harness::io::hash::sha256;
use harness::io::progress::Progress;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A silence longer than the test's timeout.
const SILENCE: Duration = Duration::from_secs(3);

/// What a client asked for.
struct Asked<'a> {
    /// The last part of the address.
    file: &'a str,
    /// The first byte wanted.
    from: Option<usize>,
    /// How often this server was asked before.
    nth: usize,
}

/// A server that answers one request a connection, each on a thread of its own.
struct Server {
    url: String,
    log: Log,
}

/// File and first byte of each request.
type Log = Arc<Mutex<Vec<(String, Option<usize>)>>>;

fn serve(answer: impl Fn(&mut TcpStream, Asked) + Send + Sync + 'static) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/sets/", listener.local_addr().unwrap());
    let (log, answer) = (Log::default(), Arc::new(answer));
    let seen = Arc::clone(&log);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, seen, answer) = (stream.unwrap(), Arc::clone(&seen), Arc::clone(&answer));
            std::thread::spawn(move || {
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
                let Some(first) = lines.next() else { return };
                let path = first.split(' ').nth(1).unwrap().to_owned();
                let file = path.rsplit('/').next().unwrap();
                let header = lines.take_while(|line| !line.is_empty()).find_map(|line| {
                    let (name, value) = line.split_once(": ")?;
                    let value = value.strip_prefix("bytes=")?.strip_suffix('-')?;
                    name.eq_ignore_ascii_case("range").then(|| value.parse().unwrap())
                });
                let nth = {
                    let mut seen = seen.lock().unwrap();
                    seen.push((file.to_owned(), header));
                    seen.len() - 1
                };
                answer(&mut stream, Asked { file, from: header, nth });
            });
        }
    });
    Server { url, log }
}

/// Sends a head and a body; a client that is gone does not matter.
fn send(stream: &mut TcpStream, status: &str, more: &str, length: usize, body: &[u8]) {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{more}\r\n");
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
}

fn pack(bytes: &[u8], level: Compression) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), level);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn hex(bytes: &[u8]) -> Option<&'static str> {
    Some(Box::leak(sha256(bytes).into_boxed_str()))
}

/// A set to be fetched, and a folder for it.
struct Sandbox {
    root: tempfile::TempDir,
    gz: Vec<Vec<u8>>,
    files: [Published; 4],
}

impl Sandbox {
    fn new() -> Sandbox {
        let root = tempfile::tempdir().unwrap();
        synth::write(&root.path().join("plain"), 5, 60, 20).unwrap();
        let plain = FILES.map(|file| fs::read(root.path().join("plain").join(file)).unwrap());
        let gz: Vec<_> = plain.iter().map(|bytes| pack(bytes, Compression::best())).collect();
        let known = |i: usize| Published { md5: None, sha256: hex(&plain[i]), gz_sha256: hex(&gz[i]) };
        Sandbox { files: std::array::from_fn(known), root, gz }
    }

    fn folder(&self) -> PathBuf {
        self.root.path().join("tiny")
    }

    fn order(&self, mirrors: &[&Server]) -> Download {
        Download {
            name: "tiny".to_owned(),
            folder: self.folder(),
            mirrors: mirrors.iter().map(|server| server.url.clone()).collect(),
            files: self.files,
            timeout: Duration::from_millis(500),
            proxy: false,
        }
    }

    /// Fetches, and opens what came.
    fn fetches(&self, mirrors: &[&Server]) {
        self.order(mirrors).fetch(&Progress::new(true)).unwrap_or_else(|error| panic!("{error:#}"));
        for (file, gz) in FILES.iter().zip(&self.gz) {
            assert!(fs::read(self.folder().join(format!("{file}.gz"))).unwrap() == *gz, "{file}");
        }
        assert_eq!(self.names().len(), 5, "four files and the lock: {:?}", self.names());
        assert_eq!(Dataset::open("tiny", Some(self.root.path())).unwrap().train.len(), 60);
    }

    /// What the user reads instead; no file has its name then.
    fn refuses(&self, mirrors: &[&Server], words: &[&str]) {
        let error = self.order(mirrors).fetch(&Progress::new(true)).unwrap_err();
        let text = format!("{error:#}");
        assert!(!text.contains('\n'), "{text}");
        for word in words.iter().chain(&[FILES[0], FILES[3], "into ", "harness data verify tiny"]) {
            assert!(text.contains(word), "no {word:?} in {text}");
        }
        assert!(
            self.names().iter().all(|name| name == "lock" || name.starts_with('.')),
            "{:?}",
            self.names()
        );
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// A server that has the set and knows parts.
    fn good(&self) -> Server {
        let gz = self.gz.clone();
        serve(move |stream, asked| whole(stream, &gz, &asked))
    }

    /// A server that does something else with the first file the first `times` it is asked for it.
    fn at_first(
        &self,
        times: usize,
        trick: impl Fn(&mut TcpStream, &[u8], &Asked) + Send + Sync + 'static,
    ) -> Server {
        let gz = self.gz.clone();
        serve(move |stream, asked| match asked.file.starts_with(FILES[0]) && asked.nth < times {
            true => trick(stream, &gz[0], &asked),
            false => whole(stream, &gz, &asked),
        })
    }
}

fn whole(stream: &mut TcpStream, gz: &[Vec<u8>], asked: &Asked) {
    let i = FILES.iter().position(|file| asked.file == format!("{file}.gz")).unwrap();
    part(stream, &gz[i], asked.from);
}

fn part(stream: &mut TcpStream, bytes: &[u8], from: Option<usize>) {
    let size = bytes.len();
    match from {
        Some(from) if from < size => {
            let range = format!("Content-Range: bytes {from}-{}/{size}\r\n", size - 1);
            send(stream, "206 Partial Content", &range, size - from, &bytes[from..]);
        }
        Some(_) => send(stream, "416 Range Not Satisfiable", "", 0, b""),
        None => send(stream, "200 OK", "", size, bytes),
    }
}

fn ranges(server: &Server) -> Vec<Option<usize>> {
    let log = server.log.lock().unwrap();
    log.iter().filter(|(file, _)| file.starts_with(FILES[0])).map(|(_, from)| *from).collect()
}

#[test]
fn a_set_comes_whole_and_is_fetched_once() {
    let (sandbox, packed_otherwise) = (Sandbox::new(), Sandbox::new());
    let server = sandbox.good();
    sandbox.fetches(&[&server]);
    assert_eq!(server.log.lock().unwrap().len(), 4);
    sandbox.order(&[&server]).fetch(&Progress::new(true)).unwrap();
    assert_eq!(server.log.lock().unwrap().len(), 4, "nothing is fetched twice");
    // The same content packed by another program is as good.
    let plain = FILES.map(|file| fs::read(sandbox.root.path().join("plain").join(file)).unwrap());
    let gz: Vec<_> = plain.iter().map(|bytes| pack(bytes, Compression::fast())).collect();
    let other = serve(move |stream, asked| whole(stream, &gz, &asked));
    packed_otherwise.order(&[&other]).fetch(&Progress::new(true)).unwrap();
    assert_eq!(Dataset::open("tiny", Some(packed_otherwise.root.path())).unwrap().train.len(), 60);
}

#[test]
fn a_file_that_breaks_off_is_gone_on_with() {
    let sandbox = Sandbox::new();
    // Breaks off twice: the length it announced does not come.
    let server = sandbox.at_first(2, |stream, gz, asked| {
        let from = asked.from.unwrap_or(0);
        let range = format!("Content-Range: bytes {from}-{}/{}\r\n", gz.len() - 1, gz.len());
        let status = if from > 0 { "206 Partial Content" } else { "200 OK" };
        send(stream, status, &range, gz.len() - from, &gz[from..from + 1000]);
    });
    sandbox.fetches(&[&server]);
    assert_eq!(ranges(&server), [None, Some(1000), Some(2000)]);
}

#[test]
fn a_server_without_parts_starts_again() {
    let sandbox = Sandbox::new();
    let server = sandbox.at_first(2, |stream, gz, asked| match asked.nth {
        0 => send(stream, "200 OK", "", gz.len(), &gz[..1000]),
        _ => send(stream, "200 OK", "", gz.len(), gz),
    });
    sandbox.fetches(&[&server]);
    assert_eq!(ranges(&server), [None, Some(1000)]);
}

#[test]
fn a_server_that_stalls_is_left_for_another_that_goes_on() {
    let sandbox = Sandbox::new();
    let stalls = sandbox.at_first(usize::MAX, |stream, gz, asked| {
        if asked.from.is_none() {
            send(stream, "200 OK", "", gz.len(), &gz[..700]);
        }
        std::thread::sleep(SILENCE);
    });
    let good = sandbox.good();
    sandbox.fetches(&[&stalls, &good]);
    assert_eq!(ranges(&stalls), [None, Some(700), Some(700), Some(700)]);
    assert_eq!(ranges(&good), [Some(700)]);
}

#[test]
fn what_is_kept_of_a_failure_serves_the_next_command() {
    let sandbox = Sandbox::new();
    let cuts = sandbox.at_first(usize::MAX, |stream, gz, asked| match asked.from {
        None => send(stream, "200 OK", "", gz.len(), &gz[..900]),
        Some(_) => send(stream, "503 Busy", "", 0, b""),
    });
    sandbox.refuses(&[&cuts], &["answers 503"]);
    let good = sandbox.good();
    sandbox.fetches(&[&good]);
    assert_eq!(ranges(&good), [Some(900)]);
}

#[test]
fn a_part_that_is_of_something_else_is_fetched_anew() {
    let sandbox = Sandbox::new();
    let longer = sandbox.gz[0].len() + 10;
    for bytes in [vec![7; 500], vec![7; longer]] {
        fs::create_dir_all(sandbox.folder()).unwrap();
        fs::write(sandbox.folder().join(format!(".{}.part.gz", FILES[0])), &bytes).unwrap();
        let good = sandbox.good();
        sandbox.fetches(&[&good]);
        assert_eq!(ranges(&good), [Some(bytes.len()), None]);
        fs::remove_dir_all(sandbox.folder()).unwrap();
    }
}

#[test]
fn wrong_answers_are_reported_and_the_next_mirror_is_tried() {
    type Trick = fn(&mut TcpStream, &[u8], &Asked);
    let tricks: [(&str, Trick); 9] = [
        ("answers 404", |stream, _, _| send(stream, "404 Not Found", "", 4, b"nope")),
        ("answers 500", |stream, _, _| send(stream, "500 Broken", "", 0, b"")),
        ("serves a web page", |stream, _, _| {
            send(stream, "200 OK", "Content-Type: text/html\r\n", 28, b"<!DOCTYPE html><p>Log in</p>");
        }),
        ("serves another kind of file", |stream, _, _| send(stream, "200 OK", "", 5, b"PK\x03\x04.")),
        ("a file other than the published one", |stream, _, _| {
            let other = pack(b"other bytes", Compression::best());
            send(stream, "200 OK", "", other.len(), &other);
        }),
        // One bit of the content: neither the packed nor the unpacked checksum is right.
        ("serves a damaged file", |stream, gz, _| {
            let mut flipped = gz.to_vec();
            let crc = flipped.len() - 8;
            flipped[crc] ^= 1;
            send(stream, "200 OK", "", flipped.len(), &flipped);
        }),
        ("serves a damaged file", |stream, gz, _| send(stream, "200 OK", "", gz.len() / 2, gz)),
        ("announces 9999999999 bytes", |stream, gz, _| send(stream, "200 OK", "", 9_999_999_999, gz)),
        ("serves more than 67108864 bytes", |stream, _, _| {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
            while stream.write_all(&[0; 1 << 16]).is_ok() {}
        }),
    ];
    for (word, trick) in tricks {
        let sandbox = Sandbox::new();
        let bad = sandbox.at_first(usize::MAX, trick);
        sandbox.refuses(&[&bad], &[&bad.url, word]);
        assert_eq!(sandbox.names(), ["lock"], "{word}: nothing is kept of it");
        sandbox.fetches(&[&bad, &sandbox.good()]);
    }
}

#[test]
fn offline_it_says_which_files_to_put_where() {
    let sandbox = Sandbox::new();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gone = Server { url: format!("http://{nobody}/"), log: Arc::default() };
    let folder = sandbox.folder().display().to_string();
    sandbox.refuses(&[&gone, &gone], &[&gone.url, &folder]);
    assert!(
        Download::new("synth", &sandbox.folder(), None)
            .is_err_and(|e| e.to_string().contains("harness data synth"))
    );
    assert!(
        Download::new("mnist", &sandbox.folder(), Some("ftp://x"))
            .is_err_and(|e| e.to_string().contains("http://"))
    );
    assert_eq!(Download::new("kmnist", &sandbox.folder(), None).unwrap().mirrors.len(), 1);
}

#[test]
fn a_file_that_is_there_is_never_replaced() {
    let sandbox = Sandbox::new();
    fs::create_dir_all(sandbox.folder()).unwrap();
    let mine = sandbox.folder().join(FILES[1]);
    fs::write(&mine, "mine").unwrap();
    let error = sandbox.order(&[&sandbox.good()]).fetch(&Progress::new(true)).unwrap_err().to_string();
    assert!(error.contains(FILES[1]) && error.contains("not the published file"), "{error}");
    assert_eq!(fs::read(&mine).unwrap(), b"mine");
}

#[test]
fn two_processes_do_not_fetch_into_one_folder() {
    let sandbox = Sandbox::new();
    fs::create_dir_all(sandbox.folder()).unwrap();
    let held = harness::io::lock::hold(&sandbox.folder()).unwrap();
    let error = sandbox.order(&[&sandbox.good()]).fetch(&Progress::new(true)).unwrap_err().to_string();
    assert!(error.contains("another process is using it"), "{error}");
    drop(held);
    sandbox.fetches(&[&sandbox.good()]);
}

/// The command itself, with the real set where it is at hand: killed in the middle, it goes on.
#[test]
fn the_command_is_killed_and_goes_on() {
    let shared = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/mnist"));
    if !shared.is_dir() {
        let _ = writeln!(std::io::stderr(), "skipped: no MNIST at {}", shared.display());
        return;
    }
    let gz: Vec<_> = FILES.iter().map(|file| fs::read(shared.join(format!("{file}.gz"))).unwrap()).collect();
    let server = serve(move |stream, asked| {
        if asked.nth == 0 {
            send(stream, "200 OK", "", gz[0].len(), &gz[0][..3_000_000]);
            std::thread::sleep(SILENCE);
        }
        whole(stream, &gz, &asked);
    });
    let root = tempfile::tempdir().unwrap();
    let command = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_harness"));
        command.args(["data", "fetch", "MNIST", "--quiet", "--mirror", &server.url]);
        command.arg("--data-dir").arg(root.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for name in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
            command.env_remove(name);
        }
        command
    };
    let mut child = command().spawn().unwrap();
    let part = root.path().join(format!("mnist/.{}.part.gz", FILES[0]));
    while fs::metadata(&part).map_or(0, |meta| meta.len()) < 1_000_000 {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it was killed");
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let before = fs::metadata(&part).unwrap().len() as usize;
    let output = command().output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(ranges(&server), [None, Some(before)]);
    assert_eq!(Dataset::open("mnist", Some(root.path())).unwrap().train.len(), 60_000);
}
