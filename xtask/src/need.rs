//! What do the tests need beside Rust and a C compiler? Debian packages, and foreign OAuth clients from npm and PyPI.

use anyhow::{Context, Result, bail};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// Debian package and a program that shows that it is there.
const PACKAGES: &[(&str, &[&str])] = &[
    ("postgresql-15", &["/usr/lib/postgresql/15/bin/postgres"]),
    ("chromium", &["/usr/bin/chromium"]),
    ("nodejs", &["/usr/bin/node", "/usr/local/bin/node"]),
    ("npm", &["/usr/bin/npm", "/usr/local/bin/npm"]),
    ("curl", &["/usr/bin/curl"]),
    ("nginx", &["/usr/sbin/nginx"]),
    ("caddy", &["/usr/bin/caddy"]),
    ("openssl", &["/usr/bin/openssl"]),
];

/// What the gate is measured beside, and with.
const BENCH_PACKAGES: &[(&str, &[&str])] = &[
    ("nginx", &["/usr/sbin/nginx"]),
    ("libnginx-mod-http-lua", &["/usr/lib/nginx/modules/ngx_http_lua_module.so"]),
    ("lua-luaossl", &["/usr/share/lua/5.1/openssl.lua"]),
    ("lua-cjson", &["/usr/share/lua/5.1/cjson"]),
    ("haproxy", &["/usr/sbin/haproxy"]),
    ("wrk", &["/usr/bin/wrk"]),
    ("nodejs", &["/usr/bin/node", "/usr/local/bin/node"]),
    ("python3", &["/usr/bin/python3", "/usr/local/bin/python3"]),
];

/// Where the foreign clients were put; tests read it from the environment.
pub struct Found {
    node_modules: PathBuf,
    python: PathBuf,
}

impl Found {
    pub fn set(&self, command: &mut Command) {
        command.env("TRIGATE_TEST_NODE_MODULES", &self.node_modules).env("TRIGATE_TEST_PYTHON", &self.python);
    }
}

pub fn install(root: &Path) -> Result<Found> {
    let venv = if has_venv() { None } else { Some("python3-venv") };
    install_packages(PACKAGES, venv)?;
    Ok(Found { node_modules: install_npm(root)?, python: install_python(root)? })
}

pub fn install_bench() -> Result<()> {
    install_packages(BENCH_PACKAGES, None)
}

/// A Python without it is there, and makes no environments.
fn has_venv() -> bool {
    Command::new("python3").args(["-c", "import ensurepip, venv"]).output().is_ok_and(|done| done.status.success())
}

fn install_packages(packages: &[(&'static str, &[&str])], more: Option<&'static str>) -> Result<()> {
    let missing: Vec<&str> = packages
        .iter()
        .filter(|(_, shown_by)| !shown_by.iter().any(|path| Path::new(path).exists()))
        .map(|(name, _)| *name)
        .chain(more)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("   installing {}", missing.join(" "));
    let script = format!(
        "apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends {}",
        missing.join(" ")
    );
    // Said before it fails, so that a person without root reads what to do.
    if !Command::new("sh").args(["-c", &script]).stdout(std::process::Stdio::null()).status()?.success() {
        bail!("the tests need Debian packages that could not be installed here; as root: {script}");
    }
    Ok(())
}

fn install_npm(root: &Path) -> Result<PathBuf> {
    let from = root.join("conformance/clients");
    let to = root.join("target/clients");
    std::fs::create_dir_all(&to)?;
    let wanted = std::fs::read(from.join("package.json")).context("conformance/clients/package.json")?;
    let marker = to.join("installed.json");
    if std::fs::read(&marker).is_ok_and(|have| have == wanted) {
        return Ok(to.join("node_modules"));
    }
    std::fs::write(to.join("package.json"), &wanted)?;
    println!("   npm install (foreign clients)");
    let done = Command::new("npm")
        .args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--silent"])
        .current_dir(&to)
        .status()
        .context("npm")?;
    if !done.success() {
        bail!("npm could not install the foreign clients named in conformance/clients/package.json");
    }
    std::fs::write(marker, wanted)?;
    Ok(to.join("node_modules"))
}

fn install_python(root: &Path) -> Result<PathBuf> {
    let venv = root.join("target/clients/venv");
    let python = venv.join("bin/python");
    let wanted = std::fs::read(root.join("conformance/clients/requirements.txt"))?;
    let marker = venv.join("installed.txt");
    if std::fs::read(&marker).is_ok_and(|have| have == wanted) {
        return Ok(python);
    }
    println!("   pip install (foreign clients)");
    let made = Command::new("python3").args(["-m", "venv"]).arg(&venv).status().context("python3")?;
    let installed = Command::new(&python)
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"])
        .arg(root.join("conformance/clients/requirements.txt"))
        .status()?;
    if !made.success() || !installed.success() {
        bail!("pip could not install conformance/clients/requirements.txt (is the package python3-venv there?)");
    }
    std::fs::write(marker, wanted)?;
    Ok(python)
}
