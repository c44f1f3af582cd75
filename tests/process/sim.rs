//! `seckel sim` as a process: the same world from both builds, its outputs, its exit codes.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn run(binary: &Path, args: &[&str]) -> Output {
    Command::new(binary).arg("sim").args(args).output().expect("seckel starts")
}

fn own() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_seckel"))
}

fn json(output: &Output) -> serde_json::Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(text.trim()).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The binary of the other profile, built if it is not there or old.
fn other_build() -> PathBuf {
    let own = own();
    let folder = own.parent().expect("a profile's folder");
    let target = folder.parent().expect("the folder of builds");
    let (name, args) = match folder.file_name().is_some_and(|name| name == "release") {
        true => ("debug", &["build", "--bin", "seckel"][..]),
        false => ("release", &["build", "--bin", "seckel", "--release"][..]),
    };
    let built = Command::new(env!("CARGO"))
        .args(args)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("CARGO_TARGET_DIR", target)
        .status()
        .expect("cargo starts");
    assert!(built.success(), "the {name} build");
    target.join(name).join(own.file_name().expect("a name"))
}

#[test]
fn a_seed_gives_the_same_trace_on_two_builds() {
    let other = other_build();
    for args in [
        &["--seed", "0x51c4", "--nodes", "12", "--clients", "7", "--minutes", "2", "--loss", "5"][..],
        &["--seed", "0xf8", "--drawn"],
        &["--seed", "0x2b", "--drawn"],
    ] {
        let args = [args, &["--json"]].concat();
        let [ours, others] = [&own(), &other].map(|binary| {
            let output = run(binary, &args);
            assert_eq!(
                output.status.code(),
                Some(0),
                "{args:?}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            let mut result = json(&output);
            let fields = result.as_object_mut().expect("an object");
            // How long it took here, and what it needed, is not the world's.
            assert!(fields.remove("wall_micros").is_some() && fields.remove("memory_bytes").is_some());
            result
        });
        assert_eq!(ours["trace_hash"].as_str().map(str::len), Some(16));
        assert_eq!(ours, others, "{args:?}");
    }
}

#[test]
fn what_a_world_came_to_is_told_as_text_and_as_json() {
    let args = "--seed 7 --nodes 8 --clients 2 --copies 1 --nat open,restricted --minutes 0.5";
    let args: Vec<&str> = args.split(' ').collect();
    let text = run(&own(), &args);
    assert_eq!(text.status.code(), Some(0));
    assert!(text.stderr.is_empty(), "no progress bar where there is no terminal");
    let told = String::from_utf8_lossy(&text.stdout).into_owned();
    let result = json(&run(&own(), &[&args[..], &["--json"]].concat()));
    let hash = result["trace_hash"].as_str().expect("text");
    assert!(told.contains(hash), "the same world twice: {told}");
    assert!(result["violation"].is_null());
    let pairs = result["pairs"].as_array().expect("a list");
    assert!(pairs.iter().any(|pair| pair["from"] == "restricted" && pair["reached"].as_u64() > Some(0)));
    // Its own command gives it again.
    let again: Vec<&str> =
        result["command"].as_str().expect("text").split(' ').skip(2).chain(["--json"]).collect();
    assert_eq!(json(&run(&own(), &again))["trace_hash"], hash);
}

/// Lines that take a minute are too slow for anybody to find the server.
#[test]
fn a_world_in_which_something_does_not_hold_ends_with_1() {
    let output = run(&own(), &["--seed", "7", "--nodes", "3", "--faults", "delay=60000", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("drawn.build"), "{told}");
    assert!(told.contains("seckel sim --seed 0x7 --nodes 3"), "the way back: {told}");
    assert!(json(&output)["violation"].as_str().is_some_and(|text| text.contains("drawn.build")));
}

#[test]
fn wrong_command_lines_of_sim_say_what_would_be_right() {
    for (args, way_out) in [
        (&["--nat", "cone"][..], "full-cone"),
        (&["--faults", "losses=3"], "server-crash"),
        (&["--loss", "200"], "0 to 100"),
        (&["--seed", "x"], "0x51c4"),
    ] {
        let output = run(&own(), args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains(way_out), "{text}");
    }
}
