//! Holds the architecture: which folder may use which, what may not stand outside `edge/`, what no file may say.

use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut folders = vec![root.join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the project") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = fs::read_to_string(&path) {
                found.push((path.strip_prefix(root).expect("below the root").to_owned(), text));
            }
        }
    }
    found.sort();
    found
}

/// The folder in `src/` that a file belongs to.
fn folder(path: &Path) -> String {
    path.components().nth(1).map(|part| part.as_os_str().to_string_lossy().into_owned()).unwrap_or_default()
}

/// What each folder may use besides itself. `base`, `wire` and `crypto` name what every protocol may use.
const MAY_USE: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("wire", &["base"]),
    ("crypto", &["base"]),
    ("udx", &["base", "wire", "crypto"]),
    ("dht_rpc", &["base", "wire", "crypto"]),
    ("hyperdht", &["base", "wire", "crypto"]),
    ("hyperswarm", &["base", "wire", "crypto"]),
    ("secret_stream", &["base", "wire", "crypto"]),
    ("protomux", &["base", "wire", "crypto"]),
    ("blind_relay", &["base", "wire", "crypto"]),
    ("protomux_rpc", &["base", "wire", "crypto"]),
    ("hypercore", &["base", "wire", "crypto"]),
    ("hyperbee", &["base", "wire", "crypto", "hypercore"]),
    ("corestore", &["base", "wire", "crypto", "hypercore"]),
    (
        "node",
        &[
            "base",
            "wire",
            "crypto",
            "udx",
            "dht_rpc",
            "hyperdht",
            "hyperswarm",
            "secret_stream",
            "protomux",
            "protomux_rpc",
            "blind_relay",
            "hypercore",
            "hyperbee",
            "corestore",
            "explain",
        ],
    ),
    // Says what bytes mean; nothing below a transcript needs it.
    ("explain", &["base", "wire", "crypto"]),
    ("edge", &["base", "node", "crypto", "explain"]),
    ("sim", &["base", "node", "crypto", "app", "wire", "explain"]),
    ("app", &["base", "node", "crypto", "wire"]),
];

#[test]
fn folders_use_only_what_they_may() {
    let mut wrong = Vec::new();
    for (path, text) in sources("src") {
        let own = folder(&path);
        let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == own) else { continue };
        // Tests may put machines into what stands above them: disks and checkers of the simulator.
        let test = path.file_name().is_some_and(|name| name == "tests.rs")
            || path.components().any(|part| part.as_os_str() == "tests");
        for (number, line) in text.lines().enumerate() {
            if line.contains("#[cfg(test)]") {
                break;
            }
            let mut rest = line;
            while let Some(at) = rest.find("crate::") {
                rest = &rest[at + 7..];
                let used: String = rest
                    .chars()
                    .take_while(|c| c.is_ascii_lowercase() || *c == '_' || c.is_ascii_digit())
                    .collect();
                let known = MAY_USE.iter().any(|(name, _)| *name == used);
                if known && used != own && !allowed.contains(&&used[..]) && !test {
                    wrong.push(format!("{}:{}: {own} may not use {used}", path.display(), number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_world_enters_through_edge_only() {
    const BANNED: &[&str] = &[
        "std::net::",
        "std::fs",
        "std::time::",
        "std::thread",
        "std::process",
        "std::env",
        "std::io",
        "Instant::now",
        "SystemTime",
        "Rc<",
        "Arc<",
        "RefCell<",
        "Mutex<",
        "HashMap",
        "HashSet",
        "static mut",
        "thread_local!",
        "OnceLock",
        "lazy_static",
        "async fn",
        ".await",
        "println!",
        "todo!",
        "unimplemented!",
        "mio::",
        "dbg!",
    ];
    let mut wrong = Vec::new();
    for (path, text) in sources("src") {
        let own = folder(&path);
        let test_file = path.file_name().is_some_and(|name| name == "tests.rs");
        if own == "edge"
            || own == "bin"
            || test_file
            || path.components().any(|part| part.as_os_str() == "tests")
        {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            if line.contains("#[cfg(test)]") {
                break;
            }
            let code = line.split("//").next().unwrap_or_default();
            for word in BANNED {
                if code.contains(word) {
                    wrong.push(format!("{}:{}: {word}", path.display(), number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn unsafe_is_nowhere() {
    let root = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).expect("lib.rs");
    assert!(root.contains("#![forbid(unsafe_code)]"), "src/lib.rs forbids unsafe code");
}

/// Crypto crates are named in `crypto/` alone, sockets and clocks crates in `edge/` alone.
#[test]
fn crates_are_named_in_their_folder_alone() {
    const HOME: &[(&str, &str)] = &[
        ("snow::", "crypto"),
        ("blake2::", "crypto"),
        ("blake2b_simd::", "crypto"),
        ("ed25519_dalek::", "crypto"),
        ("curve25519_dalek::", "crypto"),
        ("sodiumoxide::", "crypto"),
        ("mio::", "edge"),
        ("socket2::", "edge"),
        ("quinn_udp::", "edge"),
        ("nix::sys", "edge"),
        ("getrandom::", "edge"),
        ("signal_hook", "edge"),
        ("clap::", "bin"),
        ("rustyline::", "bin"),
        ("pcap_parser::", "bin"),
        ("etherparse::", "bin"),
        ("crc32fast::", "hypercore"),
    ];
    let mut wrong = Vec::new();
    for (path, text) in sources("src") {
        let own = folder(&path);
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for (name, home) in HOME {
                if code.contains(name) && own != *home {
                    wrong.push(format!("{}:{}: {name} belongs to {home}", path.display(), number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn lines_fit() {
    let mut wrong = Vec::new();
    for (path, text) in sources("src").into_iter().chain(sources("tests")) {
        if path.extension().is_none_or(|ending| ending != "rs") {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            if line.chars().count() > 120 {
                wrong.push(format!("{}:{}", path.display(), number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "longer than 120 columns:\n{}", wrong.join("\n"));
}

#[test]
fn the_lock_file_of_the_judges_names_no_host() {
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/package-lock.json");
    assert!(!fs::read_to_string(lock).expect("the lock file").contains("\"resolved\""));
}
