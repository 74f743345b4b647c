//! Invalid input: one table of cases and their error messages.

use super::Sandbox;
use crate::support::{say, thesis};
use harness::error::UsageError;
use harness::io::array::write_f32;
use harness::model_file;
use ndarray::{Array1, Array3, ShapeBuilder};
use ndarray_npy::write_npy;
use safetensors::{Dtype, tensor::TensorView};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// With `REFUSALS` in the environment, the messages are printed.
const SHOW: &str = "REFUSALS";
const TRAIN: &str = "train --data-dir @ --limit-train 300 --limit-test 60 --out @run";
const EVAL: &str = "eval --model @m.safetensors --dataset synth --data-dir @ --logits @out.npy";
const ARRAYS: &str = "eval --model @m.safetensors --input @x.npy --labels @y.npy --logits @out.npy";
const EXPLAIN: &str = "explain --model @m.safetensors --dataset synth --data-dir @ --out @out.npz";
const IMAGES: &str = "synth/train-images-idx3-ubyte";
const LABELS: &str = "synth/train-labels-idx1-ubyte";

/// Makes a file invalid.
type Spoil = Box<dyn Fn(&Sandbox)>;

/// The defect, the command, its exit status, and words of its error message.
struct Case(Spoil, String, u8, Vec<&'static str>);

/// Writes `bytes` at `offset` of a file.
fn patch(file: &'static str, offset: usize, bytes: &'static [u8]) -> Spoil {
    Box::new(move |sandbox| {
        let mut content = sandbox.bytes(file);
        content[offset..offset + bytes.len()].copy_from_slice(bytes);
        fs::write(sandbox.at(file), content).expect("written");
    })
}

/// Truncates a file, or pads it with zeros, to this length.
fn cut(file: &'static str, len: u64) -> Spoil {
    Box::new(move |sandbox| {
        fs::OpenOptions::new().write(true).open(sandbox.at(file)).and_then(|f| f.set_len(len)).expect("cut");
    })
}

fn replace(file: &'static str, bytes: &'static [u8]) -> Spoil {
    Box::new(move |sandbox| fs::write(sandbox.at(file), bytes).expect("written"))
}

/// Puts a folder, a link to a device, or a pipe in the place of a file.
fn no_file(file: &'static str, what: &'static str) -> Spoil {
    Box::new(move |sandbox| {
        let path = sandbox.at(file);
        fs::remove_file(&path).expect("removed");
        match what {
            "folder" => fs::create_dir(path).expect("a folder"),
            "pipe" => assert!(Command::new("mkfifo").arg(path).status().expect("mkfifo").success()),
            device => symlink(device, path).expect("a link"),
        }
    })
}

fn packed(bytes: &'static [u8]) -> Spoil {
    Box::new(move |sandbox| {
        fs::remove_file(sandbox.at(IMAGES)).expect("removed");
        fs::write(sandbox.at(IMAGES).with_extension("gz"), bytes).expect("written");
    })
}

fn nothing() -> Spoil {
    Box::new(|_| ())
}

fn data() -> Vec<Case> {
    let case = |spoil, words| Case(spoil, TRAIN.to_owned(), 1, words);
    let maj = |from: &str, spoil, words| Case(spoil, format!("data maj --out @maj --from {from}"), 1, words);
    let swap: Spoil = Box::new(|sandbox| {
        fs::rename(sandbox.at(IMAGES), sandbox.at("synth/x")).expect("renamed");
        fs::rename(sandbox.at(LABELS), sandbox.at(IMAGES)).expect("renamed");
        fs::rename(sandbox.at("synth/x"), sandbox.at(LABELS)).expect("renamed");
    });
    let gz_in_half: Spoil = Box::new(|sandbox| {
        let gz = sandbox.at(&format!("{IMAGES}.gz"));
        assert!(Command::new("gzip").arg(sandbox.at(IMAGES)).status().expect("gzip").success());
        let bytes = fs::read(&gz).expect("packed");
        fs::write(gz, &bytes[..bytes.len() / 2]).expect("written");
    });
    vec![
        case(patch(IMAGES, 2, &[10, 3]), vec![IMAGES, "magic 0x00000a03", "expected 0x803", "another kind"]),
        case(patch(IMAGES, 2, &[9, 3]), vec![IMAGES, "item ", "expected integers from 0 to 255"]),
        case(patch(LABELS, 2, &[13]), vec![LABELS, "floating-point", "astype"]),
        case(patch(IMAGES, 11, &[27]), vec![IMAGES, "470416 bytes", "expected 453616", "27x28", "fetch"]),
        case(patch(IMAGES, 4, &[0, 1]), vec![IMAGES, "470416 bytes", "66136 items", "fetch"]),
        case(patch(IMAGES, 4, &[255; 12]), vec![IMAGES, "claims 4294967295 items", "more than any file"]),
        case(cut(IMAGES, 400_000), vec![IMAGES, "400000 bytes", "expected 470416", "fetch"]),
        case(cut(IMAGES, 7), vec![IMAGES, "7 bytes", "header", "has 16", "fetch"]),
        case(cut(IMAGES, 0), vec![IMAGES, "0 bytes", "header", "fetch"]),
        case(patch(LABELS, 4, &[0; 4]), vec![LABELS, "empty", "at least one sample"]),
        case(swap, vec![IMAGES, "magic 0x801", "expected 0x803", "swapped", "rename"]),
        case(patch(LABELS, 13, &[10]), vec![LABELS, "label 5 is 10", "expected 0 to 9", "fetch"]),
        case(replace(LABELS, &[0, 0, 8, 1, 0, 0, 0, 2, 1, 2]), vec![LABELS, "2 labels", "expected 600"]),
        case(gz_in_half, vec![IMAGES, ".gz", "truncated", "fetch"]),
        case(
            packed(b"no gzip, and long enough to tell"),
            vec!["train-images-idx3-ubyte", "cannot unpack", "fetch"],
        ),
        case(no_file(IMAGES, "folder"), vec![IMAGES, "not a file", "expected IDX images", "remove"]),
        case(no_file(IMAGES, "/dev/zero"), vec![IMAGES, "not a file", "expected IDX images"]),
        case(no_file(LABELS, "/dev/null"), vec![LABELS, "not a file", "expected IDX labels"]),
        case(no_file(LABELS, "pipe"), vec![LABELS, "not a file", "expected IDX labels"]),
        Case(
            Box::new(|sandbox| {
                fs::rename(sandbox.at("synth"), sandbox.at("mine")).expect("renamed");
                fs::remove_file(sandbox.at("mine/t10k-labels-idx1-ubyte")).expect("removed");
            }),
            format!("{TRAIN} --dataset mine"),
            1,
            vec!["mine", "lacks t10k-labels-idx1-ubyte", "put ", "--data-dir"],
        ),
        maj("nowhere --data-dir @", nothing(), vec!["no data set \"nowhere\"", "--data-dir"]),
        maj("@nowhere", nothing(), vec!["nowhere: no such folder"]),
        maj(
            "@synth",
            Box::new(|sandbox| fs::remove_file(sandbox.at(LABELS)).expect("removed")),
            vec!["synth lacks train-labels-idx1-ubyte"],
        ),
        maj(
            "@synth",
            Box::new(|sandbox| {
                let bytes = [&[0, 0, 8, 1, 0, 0, 0, 200][..], &[6; 200]].concat();
                fs::write(sandbox.at("synth/t10k-labels-idx1-ubyte"), bytes).expect("written");
            }),
            vec!["synth", "test half", "all 200 samples have class 6", "second class"],
        ),
        Case(
            nothing(),
            "data maj --from @synth --out @synth".to_owned(),
            1,
            vec!["train-images-idx3-ubyte", "already exists", "--overwrite"],
        ),
    ]
}

/// Changes the header of the model file; offsets and values stay.
fn header(change: impl Fn(&mut Value) + 'static) -> Spoil {
    Box::new(move |sandbox| {
        let bytes = sandbox.bytes("m.safetensors");
        let (length, rest) = bytes.split_first_chunk::<8>().expect("a length");
        let length = u64::from_le_bytes(*length) as usize;
        let mut value: Value = serde_json::from_slice(&rest[..length]).expect("JSON");
        change(&mut value);
        let text = serde_json::to_vec(&value).expect("JSON");
        let parts = [&(text.len() as u64).to_le_bytes()[..], &text, &rest[length..]];
        fs::write(sandbox.at("m.safetensors"), parts.concat()).expect("written");
    })
}

fn models() -> Vec<Case> {
    const M: &str = "m.safetensors";
    let case = |spoil, words: &[&'static str]| Case(spoil, EVAL.to_owned(), 1, [&[M], words].concat());
    let meta = |key: &'static str, value: &'static str| {
        header(move |header| header["__metadata__"][key] = value.into())
    };
    // The tensors are sorted, so the last bytes are those of recurrent.weight.
    let nan: Spoil = Box::new(|sandbox| {
        let mut bytes = sandbox.bytes(M);
        let end = bytes.len();
        bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
        fs::write(sandbox.at(M), bytes).expect("written");
    });
    let alone = |dtype, shape: Vec<usize>, data: &'static [u8]| -> Spoil {
        Box::new(move |sandbox| {
            let view = TensorView::new(dtype, shape.clone(), data).expect("a tensor");
            let bytes = safetensors::serialize([("combine.bias", view)], None).expect("a file");
            fs::write(sandbox.at(M), bytes).expect("written");
        })
    };
    let empty = |shape: Value| {
        header(move |header| {
            let start = header["combine.bias"]["data_offsets"][0].clone();
            header["extra.bias"] = json!({ "dtype": "F32", "shape": shape, "data_offsets": [start, start] });
        })
    };
    vec![
        case(alone(Dtype::F64, vec![1], &[0; 8]), &["combine.bias is F64", "expected F32", "convert"]),
        case(alone(Dtype::F32, vec![1], &[0; 4]), &["metadata `rows` is missing", "a model file has"]),
        case(
            header(|header| header["combine.weight"]["shape"].as_array_mut().expect("two").reverse()),
            &["`combine.weight` has shape [256, 640]", "expected"],
        ),
        case(
            header(|header| {
                let tensors = header.as_object_mut().expect("an object");
                let tensor = tensors.remove("recurrent.weight").expect("a tensor");
                tensors.insert("recurrent.wait".to_owned(), tensor);
            }),
            &["`recurrent.weight` is missing", "[256, 128]"],
        ),
        case(
            header(|header| {
                let last = header["recurrent.weight"]["data_offsets"][1].clone();
                header["extra.bias"] = json!({ "dtype": "F32", "shape": [0], "data_offsets": [last, last] });
            }),
            &["`extra.bias` belongs to no layer", "it has"],
        ),
        case(nan, &["recurrent.weight holds NaN", "index 32767", "expected finite", "train again"]),
        case(
            replace(M, &[255; 64]),
            &["header of 18446744073709551615 bytes", "file of 64", "expected less"],
        ),
        case(replace(M, b""), &["holds 0 bytes", "expected a safetensors file"]),
        case(cut(M, 300_000), &["not a valid safetensors file", "write the model again"]),
        case(no_file(M, "folder"), &["a folder without best.safetensors or last.safetensors"]),
        case(no_file(M, "/dev/zero"), &["a device", "expected a file"]),
        case(no_file(M, "pipe"), &["pipe", "expected a file"]),
        case(Box::new(|sandbox| fs::remove_file(sandbox.at(M)).expect("removed")), &["No such file"]),
        // Claimed sizes larger than any memory, with no data.
        case(empty(json!([0, 1_000_000_000_000_000_000u64])), &["`extra.bias`"]),
        case(
            header(|header| header["combine.bias"]["shape"] = json!([0, 1_000_000_000_000_000_000u64])),
            &["not a valid safetensors file"],
        ),
        case(meta("rows", "1000000000000000000"), &["rows is 1000000000000000000", "at most 4096"]),
        case(meta("classes", "18446744073709551615"), &["classes is", "at most 256"]),
        case(meta("classes", "257"), &["classes is 257", "at most 256"]),
        case(meta("classes", "-1"), &["`classes` is \"-1\"", "must be a number"]),
        case(meta("seq_len", "0"), &["seq_len is 0", "at least 1"]),
        case(meta("seq_len", "5"), &["5 does not divide 28", "choose a divisor of 28"]),
        case(meta("low", "nan"), &["low is NaN", "finite"]),
        case(meta("architecture", "deep"), &["`architecture`", "expected value"]),
        case(
            meta(
                "architecture",
                r#"{"encoder":[{"gru":5}],"core":{"rnn":{"combine":8,"recurrent":8}},"head":[]}"#,
            ),
            &["`architecture`", "gru"],
        ),
        case(
            meta(
                "architecture",
                r#"{"encoder":[{"pool":"max"}],"core":{"rnn":{"combine":8,"recurrent":8}},"head":[]}"#,
            ),
            &["layer 0", "a pool follows a convolution"],
        ),
        case(
            header(|header| {
                let meta = header["__metadata__"].as_object_mut().expect("an object");
                meta.remove("architecture");
                meta.extend([("cell".to_owned(), "deep".into()), ("pool".to_owned(), "mean".into())]);
            }),
            &["`pool` is \"mean\"", "max or sum"],
        ),
    ]
}

fn arrays() -> Vec<Case> {
    const PIXELS: usize = 2 * 28 * 28;
    let x = |shape: &'static [usize], value: f32| -> Spoil {
        Box::new(move |sandbox| {
            let data = vec![value; shape.iter().product()];
            write_f32(&sandbox.at("x.npy"), shape, &data).expect("written");
        })
    };
    let labels = |labels: &'static [i64]| -> Spoil {
        Box::new(|sandbox| write_npy(sandbox.at("y.npy"), &Array1::from(labels.to_vec())).expect("written"))
    };
    let case = |spoil, words| Case(spoil, ARRAYS.to_owned(), 1, words);
    let save = |write: fn(PathBuf)| -> Spoil { Box::new(move |sandbox| write(sandbox.at("x.npy"))) };
    vec![
        case(
            save(|x| write_npy(x, &Array3::<f32>::zeros((2, 28, 28).f())).expect("written")),
            vec!["x.npy", "Fortran order", "expected C order", "ascontiguousarray"],
        ),
        case(
            save(|x| write_npy(x, &Array3::<f64>::zeros((2, 28, 28))).expect("written")),
            vec!["x.npy", "float64", "expected little-endian float32", "astype"],
        ),
        case(x(&[2, 784], 0.0), vec!["x.npy", "shape [2, 784]", "expected [N, rows, cols]", "reshape"]),
        case(x(&[2, 14, 56], 0.0), vec!["x.npy", "14×56", "28×28", "scale or cut"]),
        case(x(&[2, 28, 28], 1.5), vec!["x.npy", "pixel 0 is 1.5", "-1…1", "scale the images: `2*a/255-1`"]),
        case(
            x(&[2, 28, 28], f32::NAN),
            vec!["x.npy", "[0, 0, 0] is NaN", "expected finite", "drop that image"],
        ),
        case(cut("x.npy", 1000), vec!["x.npy", "shape [2, 28, 28]", "872 bytes of data", "save it again"]),
        case(cut("x.npy", 128), vec!["x.npy", "0 bytes of data", "save it again"]),
        case(
            replace("x.npy", b"\x93NUMPY\x02\0\xff\xff\xff\xff"),
            vec!["x.npy", "4294967295 bytes", "damaged"],
        ),
        case(replace("x.npy", b""), vec!["x.npy", "not a NumPy array", "numpy.save"]),
        case(no_file("x.npy", "folder"), vec!["x.npy", "a folder, expected a file"]),
        case(no_file("x.npy", "/dev/zero"), vec!["x.npy", "a device", "expected a file"]),
        case(no_file("y.npy", "pipe"), vec!["y.npy", "pipe", "expected a file"]),
        case(labels(&[1]), vec!["y.npy", "1 labels for 2 images", "one label per image"]),
        case(labels(&[1, 10]), vec!["y.npy", "label 1 is 10", "0 to 9"]),
        case(labels(&[-1, 0]), vec!["y.npy", "label 0 is -1", "0 to 9"]),
        case(
            Box::new(|sandbox| write_f32(&sandbox.at("y.npy"), &[2], &[0.0; 2]).expect("written")),
            vec!["y.npy", "float32", "expected int64, int32 or uint8", "astype"],
        ),
        case(
            Box::new(|sandbox| {
                write_f32(&sandbox.at("x.npy"), &[PIXELS, 1, 1], &[0.0; PIXELS]).expect("written")
            }),
            vec!["x.npy", "1×1", "28×28"],
        ),
    ]
}

fn settings() -> Vec<Case> {
    let line = TRAIN.replace("--out", "--config @run.toml --out");
    let case = |text: &'static str, words: &[&'static str]| {
        Case(replace("run.toml", text.as_bytes()), line.clone(), 2, [&["run.toml"], words].concat())
    };
    let no = |spoil, words| Case(spoil, line.clone(), 1, words);
    vec![
        case("cell = \"deep\"\nepoch = 3\n", &["line 2", "`epoch`", "`epochs`"]),
        case("batch = \"many\"\n", &["line 1", "\"many\"", "expected usize"]),
        case("batch = -5\n", &["line 1", "-5"]),
        case("batch = 5\nbatch = 6\n", &["line 2", "duplicate key"]),
        case("cell = deep\n", &["line 1", "cell = deep"]),
        case("input-range = [1.0]\n", &["line 1", "input-range"]),
        case("encoder = [{ gru = 5 }]\n", &["line 1", "gru"]),
        case("encoder = \"conv5\"\n", &["line 1", "\"conv5\"", "conv5x24"]),
        case("encoder = [{ conv = { size = 4, channels = 8 } }]\n", &["filter is 4", "odd"]),
        case("core = { rnn = { combine = 8 } }\n", &["line 1", "recurrent"]),
        case("head = [0]\n", &["width is 0", "at least 1"]),
        case("lr = nan\n", &["--lr is NaN", "must be a positive number"]),
        case("lr = 1e39\n", &["--lr is inf", "must be a positive number"]),
        case("batch = 0\n", &["--batch is 0", "at least 1"]),
        case("seq-len = 5\n", &["--seq-len 5", "does not divide 28", "choose a divisor of 28"]),
        Case(replace("run.toml", b"\xff\xfe"), line.clone(), 2, vec!["run.toml", "not UTF-8"]),
        no(no_file("run.toml", "folder"), vec!["run.toml", "a folder, expected a file"]),
        no(no_file("run.toml", "/dev/zero"), vec!["run.toml", "a device", "expected a file"]),
    ]
}

/// Writes rows over the logits, all of one value.
fn gamma(shape: [usize; 2], value: f32) -> Spoil {
    Box::new(move |sandbox| {
        write_f32(&sandbox.at("g.npy"), &shape, &vec![value; shape[0] * shape[1]]).expect("written");
    })
}

fn rows(shape: [usize; 2], value: f32, words: Vec<&'static str>) -> Case {
    Case(gamma(shape, value), format!("{EXPLAIN} --value @g.npy"), 2, words)
}

/// A file of rules.
fn table(text: &'static str, words: Vec<&'static str>) -> Case {
    Case(replace("run.toml", text.as_bytes()), format!("{EXPLAIN} --rules @run.toml"), 2, words)
}

fn options() -> Vec<Case> {
    let train = |more: &str, words| Case(nothing(), format!("{TRAIN} {more}"), 2, words);
    let explain = |more: &str, words| Case(nothing(), format!("{EXPLAIN} {more}"), 2, words);
    vec![
        train("--seq-len 5", vec!["--seq-len 5", "does not divide 28", "choose a divisor of 28"]),
        train("--seq-len 0", vec!["--seq-len is 0", "at least 1"]),
        train("--batch 0", vec!["--batch is 0", "at least 1"]),
        train("--epochs 0", vec!["--epochs is 0", "at least 1"]),
        train("--lr nan", vec!["--lr is NaN", "must be a positive number"]),
        train("--lr inf", vec!["--lr is inf", "must be a positive number"]),
        train("--lr 0", vec!["--lr is 0", "must be a positive number"]),
        train("--dropout 1", vec!["--dropout is 1", "below 1"]),
        train("--optimiser sgd --momentum nan", vec!["--momentum is NaN", "below 1"]),
        train("--combine 0", vec!["width is 0", "at least 1"]),
        train("--combine 1000000000000", vec!["width is 1000000000000", "at most 65536"]),
        train("--combine 65536 --recurrent 65536", vec!["number of parameters", "at most 268435456"]),
        train("--input-range 1,2", vec!["--input-range", "low is 1", "≤ 0"]),
        train("--cell lstm", vec!["--cell", "\"lstm\"", "shallow, deep", "--encoder and --core"]),
        train("--encoder lstm5", vec!["--encoder", "\"lstm5\"", "conv5x24"]),
        train("--encoder 256,,3", vec!["--encoder", "\"\"", "a width such as 256"]),
        train("--encoder conv4x8", vec!["filter is 4", "odd"]),
        train("--encoder conv257x8", vec!["filter is 257", "at most 255"]),
        train("--encoder 64,conv3x8", vec!["--encoder", "layer 1", "convolutions come first"]),
        train("--encoder max-pool,64", vec!["--encoder", "layer 0", "a pool follows a convolution"]),
        train("--encoder 0", vec!["width is 0", "at least 1"]),
        train("--encoder 100000", vec!["width is 100000", "at most 65536"]),
        train("--core gru:8:8", vec!["--core", "\"gru:8:8\"", "rnn:128:256"]),
        train("--core rnn:8", vec!["--core", "\"rnn:8\"", "rnn:COMBINE:RECURRENT"]),
        train("--core rnn:0:8", vec!["width is 0", "at least 1"]),
        train("--head 32,x", vec!["--head", "\"x\"", "a width such as 32"]),
        train("--head 0", vec!["width is 0", "at least 1"]),
        train("--cell ../mine --encoder 8 --core rnn:8:8", vec!["--cell", "\"../mine\"", "use letters"]),
        Case(
            nothing(),
            "train --data-dir @ --out @run --limit-test 0".to_owned(),
            2,
            vec!["--limit-test is 0", "at least 1"],
        ),
        train("--validation 300", vec!["300 of 300", "--validation", "at least one"]),
        train("--threads 0", vec!["--threads is 0", "at least 1"]),
        train("--threads 1000000000", vec!["--threads is 1000000000", "at most 1024"]),
        train("--kernels sse", vec!["--kernels sse", "choose one of"]),
        explain("--method lrp --alpha 2 --beta 2", vec!["--alpha 2", "--beta 2", "α − β must be 1"]),
        explain("--alpha 3", vec!["--alpha 3", "deep-taylor", "--method lrp"]),
        explain("--method z-plus --beta 1", vec!["--beta 1", "z-plus", "--method lrp"]),
        explain("--method lrp --alpha nan", vec!["--alpha NaN", "α − β must be 1"]),
        explain("--method lrp --alpha 0.5 --beta=-0.5", vec!["--beta -0.5", "at least 0"]),
        explain("--method magic", vec!["--method magic", "deep-taylor", "epsilon-plus"]),
        explain("--first magic", vec!["--first magic", "z-beta"]),
        explain("--middle magic", vec!["--middle magic", "alpha-beta"]),
        explain("--last magic", vec!["--last magic", "epsilon"]),
        explain("--first z-plus", vec!["--first z-plus", "z-beta, w-square, flat or epsilon"]),
        explain("--middle z-beta", vec!["z-beta", "for pixels"]),
        explain("--last z-beta", vec!["--last z-beta", "for pixels"]),
        explain("--middle alpha-beta --alpha 3 --beta 1", vec!["--alpha 3", "α − β must be 1"]),
        explain("--epsilon -1", vec!["--epsilon -1", "above 0"]),
        explain("--middle epsilon --epsilon 0", vec!["--epsilon 0", "above 0"]),
        explain("--gamma -0.5", vec!["--gamma -0.5", "at least 0"]),
        explain("--method sensitivity --last flat", vec!["--method sensitivity", "no rules", "--last"]),
        explain("--method guided-backprop --check", vec!["--check", "no conservation"]),
        explain("--value largest", vec!["--value largest", "runner-up", ".npy"]),
        explain("--value @absent.npy", vec!["--value", "absent.npy", "cannot be opened"]),
        rows([2, 10], 0.5, vec!["g.npy", "[2, 10]", "expected [200, 10]", "--samples"]),
        rows([200, 9], 0.5, vec!["g.npy", "[200, 9]", "expected [200, 10]"]),
        rows([200, 10], f32::NAN, vec!["g.npy", "row 0", "NaN", "not a finite number"]),
        Case(
            gamma([200, 10], 0.5),
            format!("{EXPLAIN} --value @g.npy --target true"),
            2,
            vec!["--target", "--value"],
        ),
        table("", vec!["run.toml", "names no layer", "first, convolution, middle or last"]),
        table("epsilon = 0.5\n", vec!["run.toml", "names no layer"]),
        table("second = \"flat\"\n", vec!["run.toml", "second"]),
        table("first = 3\n", vec!["run.toml", "string"]),
        table("middle = \"magic\"\n", vec!["run.toml", "middle magic"]),
        table("convolution = \"z-beta\"\n", vec!["z-beta", "for pixels"]),
        table("last = \"gamma\"\ngamma = -1\n", vec!["gamma -1", "at least 0"]),
        explain("--target 10", vec!["--target 10", "0 to 9"]),
        explain("--samples 0", vec!["--samples"]),
        Case(
            nothing(),
            "prototype --model @m.safetensors --out @p.png --class 256".to_owned(),
            2,
            vec!["--class 256", "0 to 9"],
        ),
    ]
}

/// Every path under a folder, with the length of the files.
fn listing(folder: &Path) -> Vec<(PathBuf, u64)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        match fs::symlink_metadata(&path).expect("metadata") {
            meta if meta.is_dir() => all.extend(listing(&path)),
            meta => all.push((path.clone(), meta.len())),
        }
        all.push((path, 0));
    }
    all.sort();
    all
}

#[test]
fn bad_input_is_one_line_and_leaves_nothing_behind() {
    let parts = [
        ("data", data()),
        ("models", models()),
        ("arrays", arrays()),
        ("settings", settings()),
        ("options", options()),
    ];
    let (mut told, mut wrong) = (Vec::new(), Vec::new());
    for (part, cases) in parts {
        told.push(format!("{} of {part}", cases.len()));
        for Case(spoil, line, status, words) in cases {
            let sandbox = Sandbox::new();
            model_file::save(&sandbox.at("m.safetensors"), &thesis("deep", 7)).expect("saved");
            sandbox.save_arrays((28, 28), &[0.5; 2 * 28 * 28], &[0, 1]);
            fs::write(sandbox.at("run.toml"), "").expect("written");
            spoil(&sandbox);
            let before = listing(sandbox.0.path());
            let Err(error) = sandbox.run(&line) else {
                wrong.push(format!("{line} (wanted {words:?}): not refused"));
                continue;
            };
            let text = format!("{error:#}");
            if std::env::var_os(SHOW).is_some() {
                say(&text);
            }
            let found = if error.downcast_ref::<UsageError>().is_some() { 2 } else { 1 };
            let absent: Vec<_> = words.iter().filter(|&&word| !text.contains(word)).collect();
            if found != status || text.contains('\n') || !absent.is_empty() {
                wrong.push(format!("{line}: {status} wanted, {found} found, {absent:?} not in {text:?}"));
            }
            if listing(sandbox.0.path()) != before {
                wrong.push(format!("{line} (wanted {words:?}): left a file behind"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    say(&format!("refused: {}", told.join(", ")));
}
