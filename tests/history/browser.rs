//! A browser that shows a page as a user would see it, driven by its protocol for developers over two FIFOs.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

/// The names that Chromium has in distributions.
const PROGRAMS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// Why pages cannot be looked at here, `None` if they can.
pub(crate) fn missing() -> Option<String> {
    program().is_none().then(|| format!("none of {} is installed", PROGRAMS.join(", ")))
}

fn program() -> Option<&'static str> {
    let path = std::env::var_os("PATH")?;
    PROGRAMS.into_iter().find(|name| std::env::split_paths(&path).any(|directory| directory.join(name).is_file()))
}

/// A running browser with one page. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Browser {
    child: Child,
    to: File,
    from: BufReader<File>,
    session: String,
    sent: u64,
    /// What the browser told besides answers.
    events: Vec<Value>,
}

/// How a page is looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View {
    pub(crate) width: u32,
    pub(crate) dark: bool,
}

impl Browser {
    /// Starts one, with its files in `directory`.
    pub(crate) fn start(directory: &Path) -> Result<Self, String> {
        let program = program().ok_or("there is no browser")?;
        let (to, from) = (directory.join("to"), directory.join("from"));
        for fifo in [&to, &from] {
            let made = Command::new("mkfifo").arg(fifo).status().map_err(|error| error.to_string())?;
            if !made.success() {
                return Err(format!("mkfifo {}: {made}", fifo.display()));
            }
        }
        let child = Command::new("sh")
            .args(["-c", "exec \"$@\" 3<\"$TO\" 4>\"$FROM\"", "sh", program])
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-pipe"])
            .arg(format!("--user-data-dir={}", directory.join("profile").display()))
            .env("TO", &to)
            .env("FROM", &from)
            .env("HOME", directory)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("{program}: {error}"))?;
        let text = |error: std::io::Error| error.to_string();
        let to = OpenOptions::new().write(true).open(&to).map_err(text)?;
        let from = BufReader::new(File::open(&from).map_err(text)?);
        let mut browser = Self { child, to, from, session: String::new(), sent: 0, events: Vec::new() };
        let target = browser.call("Target.createTarget", &json!({ "url": "about:blank" }))?;
        let attached =
            browser.call("Target.attachToTarget", &json!({ "targetId": target["targetId"], "flatten": true }))?;
        attached["sessionId"].as_str().unwrap_or_default().clone_into(&mut browser.session);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), &json!({}))?;
        }
        Ok(browser)
    }

    /// Loads a page, and returns what it asked of other places and what the console says.
    pub(crate) fn load(&mut self, path: &Path, view: View) -> Result<Vec<String>, String> {
        let size = json!({ "width": view.width, "height": 800, "deviceScaleFactor": 1, "mobile": view.width < 600 });
        self.call("Emulation.setDeviceMetricsOverride", &size)?;
        let scheme = if view.dark { "dark" } else { "light" };
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", &features)?;
        self.events.clear();
        let url = format!("file://{}", path.display());
        self.call("Page.navigate", &json!({ "url": url }))?;
        while !self.events.iter().any(|event| event["method"] == "Page.loadEventFired") {
            let message = self.receive()?;
            self.events.push(message);
        }
        let told = self.events.iter().filter_map(|event| match event["method"].as_str()? {
            "Network.requestWillBeSent" => {
                let asked = event["params"]["request"]["url"].as_str().unwrap_or_default();
                (asked != url && !asked.starts_with("data:")).then(|| format!("asked for {asked}"))
            }
            "Log.entryAdded" => Some(event["params"]["entry"]["text"].to_string()),
            "Runtime.consoleAPICalled" | "Runtime.exceptionThrown" => Some(event["params"].to_string()),
            "Page.javascriptDialogOpening" => Some("a script opened a dialog".to_owned()),
            _ => None,
        });
        Ok(told.collect())
    }

    /// The value of an expression in the page.
    pub(crate) fn value(&mut self, expression: &str) -> Result<Value, String> {
        let asked = json!({ "expression": expression, "returnByValue": true });
        let answer = self.call("Runtime.evaluate", &asked)?;
        Ok(answer["result"]["value"].clone())
    }

    /// A picture of the whole page.
    pub(crate) fn picture(&mut self) -> Result<Vec<u8>, String> {
        use base64::Engine as _;
        let asked = json!({ "captureBeyondViewport": true, "format": "png" });
        let answer = self.call("Page.captureScreenshot", &asked)?;
        let data = answer["data"].as_str().unwrap_or_default();
        base64::engine::general_purpose::STANDARD.decode(data).map_err(|error| error.to_string())
    }

    fn call(&mut self, method: &str, parameters: &Value) -> Result<Value, String> {
        self.sent += 1;
        let mut message = json!({ "id": self.sent, "method": method, "params": parameters });
        if !self.session.is_empty() {
            message["sessionId"] = self.session.as_str().into();
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.to.write_all(&bytes).map_err(|error| format!("{method}: {error}"))?;
        loop {
            let answer = self.receive()?;
            if answer["id"] == self.sent {
                return match answer.get("error") {
                    Some(error) => Err(format!("{method}: {error}")),
                    None => Ok(answer["result"].clone()),
                };
            }
            self.events.push(answer);
        }
    }

    fn receive(&mut self) -> Result<Value, String> {
        let mut bytes = Vec::new();
        self.from.read_until(0, &mut bytes).map_err(|error| error.to_string())?;
        if bytes.pop() != Some(0) {
            return Err("the browser has ended".to_owned());
        }
        serde_json::from_slice(&bytes).map_err(|error| error.to_string())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
