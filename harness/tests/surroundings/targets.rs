//! What a command writes into: devices, pipes, links, folders, long names.

use crate::sandbox::{OF_MODEL, Sandbox, allowed, fails, skip, succeeds};
use std::fs;
use std::os::unix::fs::{FileTypeExt, symlink};
use std::process::Stdio;

#[test]
fn a_device_is_written_into_and_stays() {
    let sandbox = Sandbox::trained();
    for name in ["nul", "nul.npy", "nul.npz", "nul.json", "nul.png"] {
        let path = sandbox.at(name);
        let (path, null) = (path.to_str().unwrap().to_owned(), ["-m", "666", "", "c", "1", "3"]);
        let args: Vec<&str> = null.iter().map(|&arg| if arg.is_empty() { &path } else { arg }).collect();
        if !allowed("mknod", &args) {
            return;
        }
        if fs::write(&path, "x").is_err() {
            return skip("devices cannot be opened here");
        }
    }
    for line in [
        format!("eval {OF_MODEL} --logits @nul"),
        format!("eval {OF_MODEL} --logits @nul --overwrite"),
        format!("eval {OF_MODEL} --logits @nul.npy --overwrite"),
        "prototype --model @m.safetensors --class 1 --steps 2 --out @nul --overwrite".to_owned(),
        "prototype --model @m.safetensors --class 1 --steps 2 --out @nul.png".to_owned(),
        "profile --cell shallow --batch 2 --steps 1 --trace @nul --overwrite".to_owned(),
        format!("explain {OF_MODEL} --out @nul.npy --overwrite"),
        format!("explain {OF_MODEL} --out @nul.npz"),
    ] {
        succeeds(sandbox.run(&line));
    }
    fails(sandbox.run(&format!("explain {OF_MODEL} --quiet --out @nul")), 1, &["nul", "is no folder"]);
    for name in ["nul", "nul.npy", "nul.npz", "nul.json", "nul.png"] {
        assert!(fs::metadata(sandbox.at(name)).unwrap().file_type().is_char_device(), "{name}");
    }
}

#[test]
fn a_pipe_gets_the_whole_file_and_stays() {
    let sandbox = Sandbox::trained();
    for (plain, pipe, line) in [
        ("a.npy", "pipe", format!("eval {OF_MODEL} --logits")),
        ("a.npz", "pipe.npz", format!("explain {OF_MODEL} --out")),
        ("a.png", "pipe.png", "prototype --model @m.safetensors --class 1 --steps 2 --out".to_owned()),
    ] {
        succeeds(sandbox.run(&format!("{line} @{plain}")));
        nix::unistd::mkfifo(&sandbox.at(pipe), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let child = sandbox
            .command(&format!("{line} @{pipe}"))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let found = fs::read(sandbox.at(pipe)).unwrap();
        succeeds(child.wait_with_output().unwrap());
        assert!(found == fs::read(sandbox.at(plain)).unwrap(), "{pipe}");
        assert!(fs::symlink_metadata(sandbox.at(pipe)).unwrap().file_type().is_fifo());
    }
    let output = succeeds(sandbox.run(&format!("eval {OF_MODEL} --logits /dev/stdout")));
    assert!(
        output.stdout.starts_with(&fs::read(sandbox.at("a.npy")).unwrap()),
        "through a pipe of the caller"
    );
}

#[test]
fn a_link_is_written_through() {
    let sandbox = Sandbox::trained();
    let line = format!("eval {OF_MODEL} --quiet --logits @link.npy");
    symlink("real.npy", sandbox.at("link.npy")).unwrap();
    fails(sandbox.run(&line), 1, &["link.npy", "is a link to", "real.npy", "--overwrite"]);
    succeeds(sandbox.run(&format!("{line} --overwrite")));
    fails(sandbox.run(&line), 1, &["link.npy", "already exists"]);
    fs::write(sandbox.at("real.npy"), "old").unwrap();
    succeeds(sandbox.run(&format!("{line} --overwrite")));
    assert!(fs::read(sandbox.at("real.npy")).unwrap().starts_with(b"\x93NUMPY"));
    assert!(fs::symlink_metadata(sandbox.at("link.npy")).unwrap().is_symlink());
}

#[test]
fn long_names_are_written_and_longer_ones_refused_at_once() {
    let sandbox = Sandbox::trained();
    for length in [248, 251, 255] {
        let name = "n".repeat(length - 4);
        succeeds(sandbox.run(&format!("eval {OF_MODEL} --logits @{name}.npy")));
    }
    let name = "n".repeat(252);
    let output = sandbox.run(&format!("eval {OF_MODEL} --quiet --logits @{name}.npy"));
    fails(output, 1, &["File name too long"]);
}

/// Every command that makes a folder, where something else has its name.
#[test]
fn a_folder_that_is_none_is_named_as_such() {
    let sandbox = Sandbox::trained();
    fs::write(sandbox.at("file"), "").unwrap();
    symlink("loop", sandbox.at("loop")).unwrap();
    for taken in ["@file", "@loop", "/dev/null"] {
        for line in [
            "train --quiet --epochs 1 --combine 8 --recurrent 8 --data-dir @ --out",
            "data synth --quiet --train 2 --test 2 --out",
            "data maj --quiet --from synth --data-dir @ --out",
            &format!("explain {OF_MODEL} --quiet --out"),
        ] {
            let name = taken.trim_start_matches('@');
            fails(sandbox.run(&format!("{line} {taken}")), 1, &[name, "is no folder"]);
        }
    }
    for line in ["data synth --out @a.npz", "data maj --from synth --data-dir @ --out @a.npy"] {
        fails(sandbox.run(line), 2, &["--out", "without that ending"]);
    }
}
