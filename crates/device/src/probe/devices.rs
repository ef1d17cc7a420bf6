//! Which devices there are besides the CPU.

use placement::{ByteSize, Gpu};

use super::ProbeError;
use super::roots::Roots;

/// What `--devices` asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum DeviceSpec {
    /// What is there.
    #[default]
    Found,
    /// No device but the CPU.
    None,
    /// Host arenas of so many bytes that behave as devices of their own.
    Virtual(Vec<u64>),
}

impl DeviceSpec {
    /// Reads `virtual:4GiB,4GiB` or `none`.
    ///
    /// # Errors
    /// [`ProbeError::Devices`] with the forms.
    pub fn parse(text: &str) -> Result<DeviceSpec, ProbeError> {
        let wrong = |why: String| ProbeError::Devices { found: text.to_owned(), why };
        if text == "none" {
            return Ok(DeviceSpec::None);
        }
        let sizes = text.strip_prefix("virtual:").ok_or_else(|| wrong("no such kind of device".to_owned()))?;
        let size = |size: &str| match ByteSize::parse(size) {
            Ok(size) if size.bytes == 0 => Err(wrong("a device of no bytes holds nothing".to_owned())),
            Ok(size) => Ok(size.bytes),
            Err(why) => Err(wrong(why)),
        };
        sizes.split(',').map(size).collect::<Result<_, _>>().map(DeviceSpec::Virtual)
    }

    /// The devices that were typed, in place of those that are there; `None`: nothing was typed.
    pub fn typed(&self) -> Option<Vec<Gpu>> {
        let device = |(bytes, i): (&u64, usize)| Gpu::virtual_device(format!("virtual:{i}"), *bytes);
        match self {
            DeviceSpec::Found => None,
            DeviceSpec::None => Some(Vec::new()),
            DeviceSpec::Virtual(sizes) => Some(sizes.iter().zip(0..).map(device).collect()),
        }
    }

    /// The devices; what is missing becomes a note.
    pub(super) fn gpus(&self, roots: &Roots, notes: &mut Vec<String>) -> Vec<Gpu> {
        self.typed().unwrap_or_else(|| {
            notes.push(no_cuda(roots));
            Vec::new()
        })
    }
}

/// The driver's version is read from its file; the driver itself is not opened.
fn no_cuda(roots: &Roots) -> String {
    let nothing = "no CUDA driver opened: GPU support is not built yet";
    match roots.proc("driver/nvidia/version").as_deref().and_then(|text| text.lines().next()) {
        Some(version) => format!("{nothing}; there is one ({}), and its cards are not used", version.trim()),
        None => nothing.to_owned(),
    }
}
