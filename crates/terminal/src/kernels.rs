//! Our own kernel as the device's.

use hal::{KernelProvider, Result};
use kernel::Kernel;

/// The laboratory's kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LabKernels;

impl KernelProvider for LabKernels {
    fn describe(&self) -> String {
        format!("posp kernel {}, not type approved", env!("CARGO_PKG_VERSION"))
    }

    fn kernel(&self) -> Result<Box<dyn Kernel>> {
        Ok(Box::new(kernel::EmvKernel::new()))
    }
}
