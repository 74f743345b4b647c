//! Evaluation and explanation of a model file, and invalid inputs.

use super::{Sandbox, png_size};
use crate::support::{assert_close, bits, explain, random_samples, thesis, tiny};
use harness::dataset::cross_validation::{FoldChoice, open_fold};
use harness::dataset::samples::Scaled;
use harness::io::array;
use harness::model_file;
use kernels::{Backend, Kernels, Threads};
use model::explain::{Method, Numbers, Target};
use model::{Evaluator, NamedTensor, Network, Samples, Task};
use ndarray::{Array1, Array2, Array3, Array4, Axis, Ix1, Ix3, Ix4, OwnedRepr, s};
use ndarray_npy::{NpzReader, read_npy, write_npy};
use safetensors::{Dtype, tensor::TensorView};
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::Cursor;
use std::path::Path;

const EXPLAIN: &str = "explain --model @model.safetensors --dataset synth --data-dir @";
const ARRAYS: &str = "--input @x.npy --labels @y.npy";

impl Sandbox {
    /// With `model.safetensors`, an untrained Deep.
    fn with_model() -> (Sandbox, Network) {
        let (sandbox, network) = (Sandbox::new(), thesis("deep", 7));
        model_file::save(&sandbox.at("model.safetensors"), &network).expect("saved");
        (sandbox, network)
    }

    /// Images and labels as `x.npy` and `y.npy`.
    pub fn save_arrays(&self, (rows, cols): (usize, usize), images: &[f32], labels: &[i64]) {
        array::write_f32(&self.at("x.npy"), &[images.len() / rows / cols, rows, cols], images)
            .expect("written");
        write_npy(self.at("y.npy"), &Array1::from(labels.to_vec())).expect("written");
    }
}

fn best() -> Kernels {
    Kernels::new(Backend::best(), Threads::one())
}

fn logits(network: &Network, samples: &dyn Samples) -> Vec<f32> {
    let indices: Vec<usize> = (0..samples.len()).collect();
    let mut evaluator = Evaluator::new(network, samples.len());
    evaluator.logits(&best(), network, samples, &indices).expect("runs").to_vec()
}

#[test]
fn evaluation_writes_the_logits_of_the_evaluator() {
    let (sandbox, network) = Sandbox::with_model();
    let eval = "eval --model @model.safetensors";
    sandbox.does(&format!("{eval} --dataset synth --data-dir @ --logits @d.npy --threads 2"));
    let found: Array2<f32> = read_npy(sandbox.at("d.npy")).expect("logits");
    let test = Scaled::new(&sandbox.dataset().test, -1.0, 1.0);
    assert_eq!(found.dim(), (200, 10));
    assert_eq!(bits(found.as_slice().expect("in order")), bits(&logits(&network, &test)));
    // More samples than are evaluated at once.
    let samples = random_samples(260, 28 * 28, 10, 5);
    let labels: Vec<i64> = samples.labels.iter().map(|&label| label.into()).collect();
    sandbox.save_arrays((28, 28), &samples.images, &labels);
    sandbox.does(&format!("{eval} {ARRAYS} --logits @a.npy --json"));
    let found: Array2<f32> = read_npy(sandbox.at("a.npy")).expect("logits");
    assert_eq!(bits(found.as_slice().expect("in order")), bits(&logits(&network, &samples)));
    sandbox.does(&format!("{eval} --input @x.npy"));
}

#[test]
fn a_fold_is_evaluated_and_explained_as_training_divides_it() {
    let (sandbox, network) = Sandbox::with_model();
    let of_model = "--model @model.safetensors --data-dir @";
    let fold = FoldChoice { folds: 7, fold: 3, leaky: false };
    let fold = open_fold("synth", fold, Some(&sandbox.at(""))).expect("a fold");
    let test = Scaled::new(&fold.test, -1.0, 1.0);
    sandbox.does(&format!("eval {of_model} --dataset synth --folds 7 --fold 3 --logits @f.npy"));
    let found: Array2<f32> = read_npy(sandbox.at("f.npy")).expect("logits");
    assert_eq!(found.nrows(), test.len());
    assert_eq!(bits(found.as_slice().expect("in order")), bits(&logits(&network, &test)));
    sandbox.does(&format!("explain {of_model} --dataset synth --folds 7 --fold 3 --samples 3 --out @f.npz"));
    let mut npz = NpzReader::new(fs::File::open(sandbox.at("f.npz")).expect("there")).expect("npz");
    let x: Array4<f32> = npz.by_name("x_batch").expect("images");
    let mut image = [0.0; 28 * 28];
    test.pixels(2, &mut image);
    assert_eq!(x.index_axis(Axis(0), 2).iter().copied().collect::<Vec<f32>>(), image);
    sandbox.does(&format!(
        "measure {of_model} --dataset synth --folds 7 --fold 3 --samples 2 --methods deep-taylor"
    ));

    for (options, parts) in [
        ("--data-dir @ --dataset synth --folds 7", &["--folds 7", "--fold"][..]),
        ("--data-dir @ --dataset synth --fold 1", &["--fold 1", "--folds"]),
        ("--data-dir @ --dataset synth --folds 7 --fold 7", &["--fold 7", "last one is 6"]),
        ("--data-dir @ --dataset synth --folds 7 --fold 1 --leaky", &["--leaky", "no majority problem"]),
        ("--input @f.npz --folds 7 --fold 1", &["--folds", "--dataset NAME"]),
    ] {
        sandbox.usage_error(&format!("eval --model @model.safetensors {options}"), parts);
    }
}

#[test]
fn every_method_explains_into_arrays_and_pictures() {
    let (sandbox, network) = Sandbox::with_model();
    let test = Scaled::new(&sandbox.dataset().test, -1.0, 1.0);
    let mut arrays = random_samples(6, 28 * 28, 10, 0);
    for (i, x) in arrays.images.chunks_exact_mut(28 * 28).enumerate() {
        test.pixels(i, x);
        arrays.labels[i] = test.label(i);
    }
    let indices: Vec<usize> = (0..6).collect();
    for name in Method::names() {
        let line = format!("{EXPLAIN} --method {name} --samples 6");
        sandbox.does(&format!("{line} --out @{name}.npy"));
        sandbox.refuses(&format!("{line} --out @{name}.npy"), &[name, "--overwrite"]);
        let method = Method::by_name(name, &Numbers::default()).expect("a method");
        let want = explain(&best(), &network, method, (&arrays, &indices), Target::Predicted).remove(0);
        let (found, shape) = array::read_images(&sandbox.at(&format!("{name}.npy"))).expect("relevance");
        assert_eq!(shape, [6, 28, 28], "{name}");
        assert_eq!(bits(&found), bits(&want.relevance), "{name}");

        sandbox.does(&format!("{line} --out @{name}.npz"));
        let mut npz = NpzReader::new(Cursor::new(sandbox.bytes(&format!("{name}.npz")))).expect("a zip");
        let x = npz.by_name::<OwnedRepr<f32>, Ix4>("x_batch").expect("inputs");
        let y = npz.by_name::<OwnedRepr<i64>, Ix1>("y_batch").expect("classes");
        let a = npz.by_name::<OwnedRepr<f32>, Ix4>("a_batch").expect("relevance");
        assert_eq!((x.dim(), a.dim()), ((6, 1, 28, 28), (6, 1, 28, 28)), "{name}");
        for (array, values) in [
            ("index", (0..6).collect::<Vec<i64>>()),
            ("label", arrays.labels.iter().map(|&label| label.into()).collect()),
            ("target", y.to_vec()),
        ] {
            let found = npz.by_name::<OwnedRepr<i64>, Ix1>(array).expect(array);
            assert_eq!(found.to_vec(), values, "{name}: {array}");
        }
        let logits = npz.by_name::<OwnedRepr<f32>, Ix1>("logit").expect("logits");
        assert_eq!(bits(logits.as_slice().expect("in order")), bits(&want.explained), "{name}");
        assert_eq!(x.as_slice().expect("in order"), arrays.images, "{name}");
        assert!(y.iter().zip(&want.target).all(|(&y, &target)| y == target as i64), "{name}");
        assert_eq!(bits(a.as_slice().expect("in order")), bits(&found), "{name}");

        sandbox.does(&format!("{line} --out @{name} --cmap seismic --relevance-norm unaligned"));
        let (files, list) = (sandbox.files(name), sandbox.json(&format!("{name}/explanations.json")));
        let list = list.as_array().expect("a list");
        assert_eq!((files.len(), list.len()), (7, 6), "{name}");
        for (i, line) in list.iter().enumerate() {
            let svg =
                String::from_utf8(files[line["picture"].as_str().expect("a name")].clone()).expect("text");
            assert_eq!(
                svg.matches("data:image/png;base64,").count(),
                3,
                "{name}: input, heatmap, colour bar"
            );
            assert!(
                svg.contains("colours seismic") && svg.contains(&format!("sample {i}, ")),
                "{name}: {svg}"
            );
            assert_eq!((&line["sample"], &line["label"]), (&i.into(), &test.label(i).into()));
            assert_eq!(line["target"], want.target[i]);
        }
        sandbox.refuses(&format!("{line} --out @{name}"), &[name, "--overwrite"]);
        sandbox.does(&format!("{line} --out @{name} --overwrite"));
        assert_eq!(sandbox.files(name).len(), 7, "{name}");
    }
}

#[test]
fn explanations_are_of_the_selected_targets_and_samples() {
    let (sandbox, _) = Sandbox::with_model();
    let labels = sandbox.dataset().test.labels().to_vec();
    sandbox.does(&format!("{EXPLAIN} --samples 5 --target all --out @all.npy"));
    let all: Array4<f32> = read_npy(sandbox.at("all.npy")).expect("relevance");
    assert_eq!(all.dim(), (50, 1, 28, 28));
    let targets = [("3", [3; 5]), ("true", std::array::from_fn(|i| labels[i].into()))];
    for (word, targets) in targets {
        sandbox.does(&format!("{EXPLAIN} --samples 5 --target {word} --out @one.npy --overwrite"));
        let one: Array4<f32> = read_npy(sandbox.at("one.npy")).expect("relevance");
        assert_eq!(one.dim(), (5, 1, 28, 28));
        for (i, target) in targets.into_iter().enumerate() {
            let (one, all) = (one.slice(s![i, 0, .., ..]), all.slice(s![10 * i + target, 0, .., ..]));
            assert!(one.iter().zip(all).all(|(a, b)| a.to_bits() == b.to_bits()), "{word}, sample {i}");
        }
    }
    sandbox.does(&format!("{EXPLAIN} --class 4 --samples 3 --out @four"));
    let of_four = (0..labels.len()).filter(|&i| labels[i] == 4).take(3);
    let list = sandbox.json("four/explanations.json");
    assert!(of_four.zip(list.as_array().expect("a list")).all(|(i, line)| line["sample"] == i));
    assert_eq!(list.as_array().map(Vec::len), Some(3));
    sandbox.does(&format!("{EXPLAIN} --class 4 --out @four.npy"));
    let four = array::read_images(&sandbox.at("four.npy")).expect("relevance").1[0];
    assert_eq!(four, labels.iter().filter(|&&label| label == 4).count());
    sandbox.does(&format!("{EXPLAIN} --out @some"));
    assert_eq!(sandbox.json("some/explanations.json").as_array().map(Vec::len), Some(16));

    sandbox.usage_error(
        &format!("{EXPLAIN} --out @x --method lrp --alpha 2 --beta 2"),
        &["--alpha 2", "--beta 2"],
    );
    let known = Method::names().collect::<Vec<_>>().join(", ");
    sandbox.usage_error(&format!("{EXPLAIN} --out @x --method magic"), &["magic", &known]);
    sandbox.usage_error(&format!("{EXPLAIN} --out @x --target 10"), &["--target 10", "0 to 9"]);
    sandbox.usage_error(&format!("{EXPLAIN} --out @x --class 77"), &["--class"]);
    sandbox.usage_error(&format!("{EXPLAIN} --out @x --samples 0"), &["--samples"]);
    sandbox.usage_error(&format!("{EXPLAIN} --out @x --input-range 1,2"), &["--input-range 1,2"]);
    sandbox.save_arrays((28, 28), &[0.5; 28 * 28], &[0]);
    for option in ["--target true", "--class 1"] {
        let line = format!("explain --model @model.safetensors --input @x.npy --out @x {option}");
        sandbox.usage_error(&line, &[option.split(' ').next().expect("a flag"), "--labels"]);
    }
    assert!(!sandbox.at("x").exists());
}

#[test]
fn explanations_of_values_have_a_ledger_and_can_be_checked() {
    let (sandbox, network) = Sandbox::with_model();
    let (classes, steps, layers) = (10, network.task().seq_len, network.layers().len());
    sandbox.does(&format!("{EXPLAIN} --samples 5 --value centred --target all --check --out @c.npz"));
    let mut npz = NpzReader::new(Cursor::new(sandbox.bytes("c.npz"))).expect("a zip");
    let f = npz.by_name::<OwnedRepr<f32>, Ix1>("f_batch").expect("values");
    let a = npz.by_name::<OwnedRepr<f32>, Ix4>("a_batch").expect("relevance");
    let absorbed = npz.by_name::<OwnedRepr<f64>, Ix3>("absorbed").expect("a ledger");
    let negative = npz.by_name::<OwnedRepr<f64>, Ix3>("negative").expect("a ledger");
    for ledger in [&absorbed, &negative] {
        assert_eq!(ledger.dim(), (5 * classes, layers, steps));
    }
    for (i, &f) in f.iter().enumerate() {
        let sum: f64 = a.index_axis(Axis(0), i).iter().map(|&r| f64::from(r)).sum();
        let f = f64::from(f);
        let error = (f - sum - absorbed.index_axis(Axis(0), i).sum()).abs();
        assert!(error <= 1e-4 * f.abs(), "[{i}]: {error} of {f}");
    }
    assert!(negative.iter().all(|&r| r <= 0.0) && negative.iter().any(|&r| r < 0.0));
    // Of each sample, the centred values of all classes add up to 0.
    for of_sample in f.as_slice().expect("in order").chunks_exact(classes) {
        assert!(of_sample.iter().sum::<f32>().abs() < 1e-4, "{of_sample:?}");
    }
    fs::write(sandbox.at("rules.toml"), "first = \"flat\"\nmiddle = \"gamma\"\ngamma = 0.5\n")
        .expect("written");
    sandbox.does(&format!("{EXPLAIN} --samples 5 --rules @rules.toml --last z-plus --out @r.npy --json"));
    sandbox.does(&format!(
        "{EXPLAIN} --samples 5 --first flat --middle gamma --gamma 0.5 --last z-plus --out @o.npy"
    ));
    assert_eq!(sandbox.bytes("r.npy"), sandbox.bytes("o.npy"));
    // A zero logit is kept with the model.
    let task = Task { zero_logit: true, ..*network.task() };
    let zero = Network::from_tensors(network.architecture().clone(), task, &network.tensors()).expect("fits");
    model_file::save(&sandbox.at("zero.safetensors"), &zero).expect("saved");
    assert!(model_file::load(&sandbox.at("zero.safetensors")).expect("loads").task().zero_logit);
}

/// A tensor of any type, as another program would hand it to the safetensors crate.
type Foreign = (Dtype, Vec<usize>, Vec<u8>);

fn foreign(network: &Network) -> BTreeMap<String, Foreign> {
    let bytes = |values: Vec<f32>| values.into_iter().flat_map(f32::to_le_bytes).collect();
    let one = |t: NamedTensor| (t.name, (Dtype::F32, t.shape, bytes(t.values)));
    network.tensors().into_iter().map(one).collect()
}

fn write_foreign(path: &Path, network: &Network, tensors: &BTreeMap<String, Foreign>) {
    let (task, name) = (network.task(), network.architecture().name());
    let numbers =
        [("seq_len", task.seq_len), ("rows", task.rows), ("cols", task.cols), ("classes", task.classes)];
    let mut metadata: HashMap<String, String> =
        numbers.into_iter().map(|(key, value)| (key.to_owned(), value.to_string())).collect();
    for (key, value) in [("cell", &name[..]), ("pool", "max"), ("low", "-1.0"), ("high", "1.0")] {
        metadata.insert(key.to_owned(), value.to_owned());
    }
    let views = tensors.iter().map(|(name, (dtype, shape, data))| {
        (name, TensorView::new(*dtype, shape.clone(), data).expect("a tensor"))
    });
    fs::write(path, safetensors::serialize(views, Some(metadata.into_iter().collect())).expect("serialised"))
        .expect("written");
}

#[test]
fn model_files_of_another_program_give_the_golden_values() {
    let sandbox = Sandbox(tempfile::tempdir().expect("a folder"));
    for golden in tiny() {
        let (network, samples, name) = (&golden.network, &golden.samples, &golden.name);
        write_foreign(&sandbox.at("theirs.safetensors"), network, &foreign(network));
        let labels: Vec<i64> = samples.labels.iter().map(|&label| label.into()).collect();
        let size = (network.task().rows, network.task().cols);
        sandbox.save_arrays(size, &samples.images, &labels);
        sandbox.does(&format!("eval --model @theirs.safetensors {ARRAYS} --logits @l.npy --overwrite"));
        let found: Array2<f32> = read_npy(sandbox.at("l.npy")).expect("logits");
        assert_close(name, found.as_slice().expect("in order"), &golden.tensors["logits"], 1e-5);
        let explained = |how: &str, want: &str| {
            sandbox.does(&format!(
                "explain --model @theirs.safetensors {ARRAYS} --out @r.npy --overwrite {how}"
            ));
            let (found, _) = array::read_images(&sandbox.at("r.npy")).expect("relevance");
            assert_close(&format!("{name} {how}"), &found, &golden.tensors[want], 1e-4);
        };
        explained("--method deep-taylor", "relevance.deep_taylor");
        explained("--target true", "relevance.deep_taylor_true_class");
        explained("--method lrp --alpha 3 --beta 2", "relevance.lrp_alpha3_beta2");
        let unit: Vec<f32> = samples.images.iter().map(|x| x * 0.5 + 0.5).collect();
        sandbox.save_arrays(size, &unit, &labels);
        explained("--input-range 0,1", "relevance.deep_taylor_unit_range");
    }
}

#[test]
fn a_model_file_that_does_not_fit_is_refused_by_the_name_of_the_tensor() {
    let (sandbox, network) = Sandbox::with_model();
    let line = "eval --model @bad.safetensors --dataset synth --data-dir @";
    let refused = |words: &[&str], change: &dyn Fn(&mut BTreeMap<String, Foreign>)| {
        let mut tensors = foreign(&network);
        change(&mut tensors);
        write_foreign(&sandbox.at("bad.safetensors"), &network, &tensors);
        sandbox.refuses(line, &[words, &["bad.safetensors"]].concat());
    };
    let name = "recurrent.weight";
    let take = |t: &mut BTreeMap<String, Foreign>| t.remove(name).expect("a tensor");
    refused(&[name, "missing"], &|t| drop(take(t)));
    refused(&["recurrent.weight"], &|t| {
        let tensor = take(t);
        t.insert("recurrent.wait".to_owned(), tensor);
    });
    refused(&["extra.bias"], &|t| drop(t.insert("extra.bias".to_owned(), t["combine.bias"].clone())));
    refused(&["combine.weight", "shape"], &|t| t.get_mut("combine.weight").expect("a tensor").1.reverse());
    refused(&["combine.bias", "F64"], &|t| {
        let (dtype, _, data) = t.get_mut("combine.bias").expect("a tensor");
        (*dtype, *data) = (Dtype::F64, vec![0; 2 * data.len()]);
    });
    fs::write(sandbox.at("bad.safetensors"), &sandbox.bytes("model.safetensors")[..5000]).expect("written");
    sandbox.refuses(line, &["bad.safetensors"]);
    sandbox.refuses(&line.replace("bad", "absent"), &["absent.safetensors"]);
}

#[test]
fn a_prototype_is_a_picture_of_an_existing_class() {
    let (sandbox, _) = Sandbox::with_model();
    let line = "prototype --model @model.safetensors --steps 5 --overwrite --out @p.png";
    sandbox.does(&format!("{line} --class 3 --dataset synth --data-dir @ --lambda 0.1"));
    assert_eq!(png_size(&sandbox.bytes("p.png")), (8 * 28, 8 * 28));
    sandbox.does(&format!("{line} --class 9 --json"));
    sandbox.does("prototype --model @model.safetensors --steps 5 --out @p.npy --class 3");
    let image: Array2<f32> = read_npy(sandbox.at("p.npy")).expect("an image");
    assert_eq!(image.dim(), (28, 28));
    for out in ["p.csv", "p", "p.pt"] {
        let line = format!("prototype --model @model.safetensors --class 3 --out @{out}");
        sandbox.usage_error(&line, &[out, ".png or .npy"]);
    }
    fs::remove_file(sandbox.at("p.png")).expect("removed");
    sandbox.usage_error(&format!("{line} --class 10"), &["--class 10"]);
    sandbox.usage_error(&format!("{line} --class 1 --rate nan"), &["--rate"]);
    assert!(!sandbox.at("p.png").exists());
}

#[test]
fn wrong_arrays_are_refused_by_the_name_of_the_file() {
    let (sandbox, _) = Sandbox::with_model();
    let line = format!("eval --model @model.safetensors {ARRAYS}");
    let image = vec![0.5; 2 * 28 * 28];
    let refused = |size, images: &[f32], labels: &[i64], words: &[&str]| {
        sandbox.save_arrays(size, images, labels);
        sandbox.refuses(&line, words);
    };
    let mut outside = image.clone();
    outside[800] = 1.5;
    refused((28, 28), &outside, &[0, 1], &["x.npy", "1.5", "scale the images: `2*a/255-1`"]);
    outside[800] = f32::NAN;
    refused((28, 28), &outside, &[0, 1], &["x.npy", "NaN"]);
    refused((28, 28), &image, &[0, 10], &["y.npy", "label 1 is 10"]);
    refused((28, 28), &image, &[-1, 0], &["y.npy", "label 0 is -1"]);
    refused((28, 28), &image, &[0], &["y.npy", "1 labels for 2 images"]);
    refused((14, 28), &image, &[0; 4], &["x.npy", "14×28", "28×28"]);
    fs::write(sandbox.at("x.npy"), "not an array").expect("written");
    sandbox.refuses(&line, &["x.npy"]);
}

/// With a data set, the pixels are those of the model whatever the bounds of z^β are.
#[test]
fn no_option_scales_the_pixels_of_a_data_set() {
    let (sandbox, _) = Sandbox::with_model();
    let line = "eval --model @model.safetensors --dataset synth --data-dir @ --logits";
    sandbox.does(&format!("{line} @a.npy"));
    sandbox.does(&format!("{line} @b.npy --input-range 0,1"));
    assert!(sandbox.bytes("a.npy") == sandbox.bytes("b.npy"));
}

#[test]
fn bytes_of_an_array_are_scaled_and_our_own_npz_is_read() {
    let (sandbox, _) = Sandbox::with_model();
    let data = sandbox.dataset();
    let pixels: Vec<u8> = (0..8).flat_map(|i| data.test.image(i).into_owned()).collect();
    let bytes = Array3::from_shape_vec((8, 28, 28), pixels).expect("images");
    write_npy(sandbox.at("bytes.npy"), &bytes).expect("written");
    sandbox.does(&format!("{EXPLAIN} --samples 8 --target true --out @own.npz"));
    let eval = "eval --model @model.safetensors --logits";
    sandbox.does(&format!("{eval} @all.npy --dataset synth --data-dir @"));
    let all: Array2<f32> = read_npy(sandbox.at("all.npy")).expect("logits");
    for (input, more) in [("bytes.npy", ""), ("own.npz", "--labels @own.npz")] {
        sandbox.does(&format!("{eval} @some.npy --overwrite --input @{input} {more}"));
        let some: Array2<f32> = read_npy(sandbox.at("some.npy")).expect("logits");
        let first = all.slice(s![..8, ..]);
        assert!(some.iter().zip(first).all(|(a, b)| a.to_bits() == b.to_bits()), "{input}");
    }
    let line = "eval --model @model.safetensors --input @x.npy";
    for (low, high, formula) in
        [(0.0, 255.0, "`2*a/255-1`"), (-3.0, 3.0, "`2*(a - a.min())/(a.max() - a.min())-1`")]
    {
        let mut image = vec![low; 28 * 28];
        image[5] = high;
        sandbox.save_arrays((28, 28), &image, &[0]);
        let error = sandbox.refuses(line, &["x.npy", "outside the model's range", formula]).to_string();
        assert!(!error.contains("--input-range"), "{error}");
    }
}

#[test]
fn a_folder_of_a_run_is_a_model_and_a_missing_input_names_both_options() {
    let (sandbox, _) = Sandbox::with_model();
    fs::create_dir(sandbox.at("run")).expect("a folder");
    sandbox.refuses("eval --model @run --dataset synth --data-dir @", &["run", "best.safetensors or last"]);
    for file in ["last", "best"] {
        fs::copy(sandbox.at("model.safetensors"), sandbox.at(&format!("run/{file}.safetensors")))
            .expect("copied");
        sandbox.does("eval --model @run --dataset synth --data-dir @");
    }
    sandbox.does("prototype --model @run --class 1 --steps 1 --out @p.png");
    for command in ["eval", "explain --out @x.npy"] {
        sandbox.usage_error(&format!("{command} --model @run"), &["--dataset", "--input"]);
    }
}

#[test]
fn pictures_that_are_replaced_go_and_what_is_not_ours_stays() {
    let (sandbox, _) = Sandbox::with_model();
    sandbox.does(&format!("{EXPLAIN} --samples 3 --target all --out @pictures"));
    fs::write(sandbox.at("pictures/mine.png"), "mine").expect("written");
    sandbox.does(&format!("{EXPLAIN} --samples 1 --target 2 --out @pictures --overwrite"));
    let names: Vec<_> = sandbox.files("pictures").into_keys().collect();
    assert_eq!(names, ["00000-class-2.svg", "explanations.json", "mine.png"]);
    for out in ["pics.png", "x.csv", "x.pt", "x.h5"] {
        sandbox.usage_error(&format!("{EXPLAIN} --out @{out}"), &[out, ".npy or .npz", "folder"]);
        assert!(!sandbox.at(out).exists());
    }
    sandbox.does(&format!("{EXPLAIN} --samples 1 --out @deep-0.5"));
    for (line, word) in [
        ("eval --model @model.safetensors --dataset synth --data-dir @ --logits @l.csv", ".npy"),
        ("profile --trace @t.csv", ".json"),
    ] {
        sandbox.usage_error(line, &[word]);
    }
}

/// Weights as PyTorch has them, and biases as they are added.
#[test]
fn a_model_of_pytorch_is_loaded_or_refused_with_what_to_do() {
    let (sandbox, network) = Sandbox::with_model();
    let line = "eval --model @theirs.safetensors --dataset synth --data-dir @";
    let tensors = foreign(&network);
    let mut transposed = tensors.clone();
    for (name, (_, shape, _)) in &mut transposed {
        if name == "combine.weight" {
            shape.reverse();
        }
    }
    write_foreign(&sandbox.at("theirs.safetensors"), &network, &transposed);
    sandbox.refuses(line, &["combine.weight", "looks transposed", "[in, out]", "w.T"]);
    for start in [&b"PK\x03\x04archive/data.pkl"[..], b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."] {
        fs::write(sandbox.at("theirs.safetensors"), start).expect("written");
        sandbox.refuses(line, &["PyTorch pickle", "save_file"]);
    }
}

#[test]
fn a_profile_leaves_a_trace_of_every_call() {
    let sandbox = Sandbox::new();
    let profile = "profile --cell deep --seq-len 4 --batch 4 --steps 3 --trace @calls.json";
    sandbox.does(profile);
    let trace = sandbox.json("calls.json");
    let events = trace.as_array().expect("an array of events");
    let named = |name: &str| events.iter().filter(|event| event["name"] == name).count();
    assert_eq!((named("step"), named("adam"), named("pack"), named("cross_entropy")), (3, 3, 3, 3));
    assert!(events.iter().all(|event| event["ph"] == "X" && event["dur"].as_f64() >= Some(0.0)));
    sandbox.refuses(profile, &["calls.json"]);
    sandbox.does(&format!(
        "{profile} --overwrite --what explain --method w-square --dataset synth --data-dir @"
    ));
    let trace = sandbox.json("calls.json");
    assert!(trace.as_array().expect("an array").iter().any(|event| event["name"] == "relevance"));
    sandbox.usage_error("profile --steps 0", &["--steps is 0"]);
    sandbox.usage_error("profile --what explain --method guess", &["guess", "deep-taylor"]);
    sandbox.usage_error("profile --cell deep --seq-len 5", &["5"]);
    sandbox.usage_error("profile --batch 0", &["--batch"]);
}
