//! Properties of the GPUs that are visible to this process.

use std::ffi::{CStr, c_char, c_int};

use cudarc::driver::sys::{CUdevice, CUdevice_attribute as Attribute, CUuuid};

use super::api::code;
use super::context::Context;
use super::{CudaError, Driver};

/// Lowest compute capability that the kernels run on.
const COMPUTE_NEEDED: (i32, i32) = (8, 0);

/// Properties of a GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuInfo {
    /// CUDA device ordinal: index among the GPUs that `CUDA_VISIBLE_DEVICES` makes visible.
    pub ordinal: usize,
    pub name: String,
    /// Identifier that does not depend on the ordinal: `GPU-...`.
    pub uuid: String,
    pub total_bytes: u64,
    /// Bytes of free memory while this process has a context on the GPU; `None` if it was not
    /// queried or no context could be created.
    pub free_bytes: Option<u64>,
    /// Compute capability (major, minor).
    pub compute: (i32, i32),
    pub multiprocessors: u32,
    /// Largest shared memory of a thread block, in bytes.
    pub shared_bytes_max: u32,
    /// PCI address such as `0000:17:00.0`; empty if unknown.
    pub pci_bus_id: String,
    /// Ordinals of the GPUs whose memory this GPU can access directly.
    pub peers: Vec<usize>,
    /// Why the GPU cannot be used; `None` if it can.
    pub unusable: Option<String>,
}

impl Driver {
    /// All visible GPUs. A GPU that cannot be queried is listed as unusable.
    ///
    /// Free memory can only be queried in a context. Creating one takes some tenths of a second and
    /// some hundred MiB of memory on each GPU; it is released after the query.
    ///
    /// # Errors
    /// The driver's error if the GPUs cannot be counted.
    pub fn gpus(&self) -> Result<Vec<GpuInfo>, CudaError> {
        let count = self.count()?;
        let describe =
            |ordinal| self.gpu(ordinal).unwrap_or_else(|error| unqueryable(ordinal, &error));
        let mut gpus: Vec<GpuInfo> = (0..count).map(describe).collect();
        for gpu in gpus.iter_mut().filter(|gpu| gpu.unusable.is_none()) {
            match self.free(gpu.ordinal) {
                Ok(free_bytes) => gpu.free_bytes = Some(free_bytes),
                Err(error) => gpu.unusable = Some(error.to_string()),
            }
        }
        Ok(gpus)
    }

    /// Properties of one GPU, except its free memory.
    pub(super) fn gpu(&self, ordinal: usize) -> Result<GpuInfo, CudaError> {
        let device = self.device(ordinal)?;
        let attribute = |which| self.attribute(ordinal, device, which);
        let compute = (
            attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        );
        let positive = |number: c_int| u32::try_from(number).unwrap_or(0);
        let name = self.name(ordinal, device)?;
        Ok(GpuInfo {
            ordinal,
            uuid: self.uuid(ordinal, device, &name)?,
            name,
            total_bytes: self.total(ordinal, device)?,
            free_bytes: None,
            compute,
            multiprocessors: positive(attribute(
                Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT,
            )?),
            shared_bytes_max: positive(attribute(
                Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN,
            )?),
            pci_bus_id: self.pci_bus_id(device),
            peers: self.peers(ordinal, device)?,
            unusable: (compute < COMPUTE_NEEDED).then(|| too_old(compute)),
        })
    }

    fn attribute(
        &self,
        ordinal: usize,
        device: CUdevice,
        which: Attribute,
    ) -> Result<c_int, CudaError> {
        let mut value = 0;
        // SAFETY: the output pointer refers to a local variable.
        let got = unsafe { (self.api.cuDeviceGetAttribute)(&raw mut value, which as u32, device) };
        self.checked(Some(ordinal), "cuDeviceGetAttribute", got).map(|()| value)
    }

    fn name(&self, ordinal: usize, device: CUdevice) -> Result<String, CudaError> {
        let mut text = [0 as c_char; 256];
        // SAFETY: the array is longer than the length passed.
        let got = unsafe { (self.api.cuDeviceGetName)(text.as_mut_ptr(), 255, device) };
        self.checked(Some(ordinal), "cuDeviceGetName", got).map(|()| string(&text))
    }

    fn uuid(&self, ordinal: usize, device: CUdevice, name: &str) -> Result<String, CudaError> {
        let mut uuid = CUuuid { bytes: [0; 16] };
        // SAFETY: the output pointer refers to a local variable.
        let got = unsafe { (self.api.cuDeviceGetUuid_v2)(&raw mut uuid, device) };
        self.checked(Some(ordinal), "cuDeviceGetUuid_v2", got)
            .map(|()| uuid_text(name, uuid.bytes.map(|byte| byte as u8)))
    }

    fn total(&self, ordinal: usize, device: CUdevice) -> Result<u64, CudaError> {
        let mut bytes = 0;
        // SAFETY: the output pointer refers to a local variable.
        let got = unsafe { (self.api.cuDeviceTotalMem_v2)(&raw mut bytes, device) };
        self.checked(Some(ordinal), "cuDeviceTotalMem_v2", got).map(|()| bytes as u64)
    }

    /// PCI address in lower case; empty on failure, since a GPU is usable without a known address.
    fn pci_bus_id(&self, device: CUdevice) -> String {
        let mut text = [0 as c_char; 64];
        // SAFETY: the array is longer than the length passed.
        let got = unsafe { (self.api.cuDeviceGetPCIBusId)(text.as_mut_ptr(), 63, device) };
        if got == 0 { string(&text).to_ascii_lowercase() } else { String::new() }
    }

    fn peers(&self, ordinal: usize, device: CUdevice) -> Result<Vec<usize>, CudaError> {
        let mut peers = Vec::new();
        for other in (0..self.count()?).filter(|other| *other != ordinal) {
            let mut reached = 0;
            // SAFETY: the output pointer refers to a local variable.
            let got = unsafe {
                (self.api.cuDeviceCanAccessPeer)(&raw mut reached, device, self.device(other)?)
            };
            // A failed query counts as no peer access.
            peers.extend((got == code::SUCCESS && reached != 0).then_some(other));
        }
        Ok(peers)
    }

    fn free(&self, ordinal: usize) -> Result<u64, CudaError> {
        let context = Context::open(self, self.device(ordinal)?, ordinal, 0)?;
        context.memory().map(|(free_bytes, _)| free_bytes)
    }
}

/// List entry of a GPU that cannot be queried.
fn unqueryable(ordinal: usize, error: &CudaError) -> GpuInfo {
    GpuInfo {
        ordinal,
        name: "unknown".to_owned(),
        uuid: String::new(),
        total_bytes: 0,
        free_bytes: None,
        compute: (0, 0),
        multiprocessors: 0,
        shared_bytes_max: 0,
        pci_bus_id: String::new(),
        peers: Vec::new(),
        unusable: Some(error.to_string()),
    }
}

fn too_old(compute: (i32, i32)) -> String {
    let ((major, minor), (needed, needed_minor)) = (compute, COMPUTE_NEEDED);
    format!(
        "its compute capability is {major}.{minor}, and the kernels need {needed}.{needed_minor} or later (A100, RTX 30 or newer)"
    )
}

/// The text before the first NUL; empty if there is no NUL.
fn string(text: &[c_char]) -> String {
    let bytes: Vec<u8> = text.iter().map(|c| *c as u8).collect();
    CStr::from_bytes_until_nul(&bytes)
        .map_or_else(|_| String::new(), |text| text.to_string_lossy().into_owned())
}

/// UUID as nvidia-smi writes it: the prefix is `GPU-`, or `MIG-` for a MIG slice.
fn uuid_text(name: &str, bytes: [u8; 16]) -> String {
    let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let part = |range: std::ops::Range<usize>| hex[range].concat();
    let kind = if name.contains(" MIG ") { "MIG" } else { "GPU" };
    format!("{kind}-{}-{}-{}-{}-{}", part(0..4), part(4..6), part(6..8), part(8..10), part(10..16))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_and_names_are_formatted_as_nvidia_smi_does() {
        let uuid = [0x9c, 0x1f, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0xff];
        assert_eq!(uuid_text("NVIDIA H200", uuid), "GPU-9c1f0001-0203-0405-0607-08090a0b0cff");
        assert!(uuid_text("NVIDIA H100 80GB HBM3 MIG 1g.10gb", uuid).starts_with("MIG-9c1f0001-"));
        assert_eq!(string(&[65, 66, 0, 67]), "AB");
        assert_eq!((string(&[0]), string(&[65])), (String::new(), String::new()));
        assert!(too_old((7, 5)).contains("7.5") && too_old((7, 5)).contains("8.0"));
    }
}
