//! A real nginx, started with the text of a configuration.

use std::{
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

pub struct Nginx {
    child: Child,
    pub address: SocketAddr,
    folder: tempfile::TempDir,
}

impl Nginx {
    /// `server`: the inside of its one server block; `{port}` is put in, and `{folder}` is a folder of its own.
    /// `None` where there is no nginx and none is required.
    pub async fn start(server: &str, files: &[(&str, &str)]) -> Option<Self> {
        if !Path::new("/usr/sbin/nginx").exists() {
            assert!(std::env::var_os("TRIGATE_TEST_REQUIRE").is_none(), "nginx is missing");
            eprintln!("SKIPPED: there is no nginx");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let at = folder.path().display().to_string();
        let server = server.replace("{port}", &address.port().to_string()).replace("{folder}", &at);
        let text = format!(
            "daemon off; master_process off; worker_processes 1; pid {at}/nginx.pid; error_log {at}/error.log;\n\
             events {{ worker_connections 256; }}\n\
             http {{ access_log {at}/access.log; client_body_temp_path {at}/body; proxy_temp_path {at}/proxy;\n\
             fastcgi_temp_path {at}/f; uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;\n server {{\n{server}\n}} }}\n"
        );
        std::fs::write(folder.path().join("nginx.conf"), text).unwrap();
        let child = Command::new("/usr/sbin/nginx")
            .args(["-p", &at, "-c", &format!("{at}/nginx.conf"), "-e", &format!("{at}/error.log")])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let this = Self { child, address, folder };
        for _ in 0..100 {
            if tokio::net::TcpStream::connect(address).await.is_ok() {
                return Some(this);
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        panic!("nginx does not listen: {}", this.log());
    }

    /// Writes a file below its folder.
    pub fn put(&self, name: &str, text: &str) {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub fn remove(&self, name: &str) {
        std::fs::remove_file(self.folder.path().join(name)).unwrap();
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("error.log")).unwrap_or_default()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
