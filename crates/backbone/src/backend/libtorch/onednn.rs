//! The two C functions of libtorch that run a fused oneDNN convolution, behind safe signatures.

#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_double, c_int, c_void};
use std::ptr;

use tch::{TchError, Tensor};

use super::geometry::Geometry;
use crate::backend::interface::Activation;

/// Whether this platform's libtorch is built with oneDNN. Apple's is not.
pub(super) const AVAILABLE: bool = cfg!(target_os = "linux");

/// `at::Tensor*`, which is also what [`Tensor`] holds.
type Handle = *mut c_void;

#[cfg(target_os = "linux")]
unsafe extern "C" {
    // torch/csrc/inductor/aoti_torch/c/shim_cpu.h; both return 0, or 1 after printing what was thrown.
    fn aoti_torch_cpu_mkldnn__convolution_pointwise(
        x: Handle,
        weight: Handle,
        bias: *const Handle,
        padding: *const i64,
        padding_len: i64,
        stride: *const i64,
        stride_len: i64,
        dilation: *const i64,
        dilation_len: i64,
        groups: i64,
        activation: *const c_char,
        scalars: *const *const c_double,
        scalars_len: i64,
        algorithm: *const *const c_char,
        result: *mut Handle,
    ) -> c_int;

    fn aoti_torch_cpu_mkldnn__convolution_pointwise_binary_(
        sum: Handle,
        x: Handle,
        weight: Handle,
        bias: *const Handle,
        padding: *const i64,
        padding_len: i64,
        stride: *const i64,
        stride_len: i64,
        dilation: *const i64,
        dilation_len: i64,
        groups: i64,
        binary: *const c_char,
        alpha: *const c_double,
        activation: *const *const c_char,
        scalars: *const *const c_double,
        scalars_len: i64,
        algorithm: *const *const c_char,
        result: *mut Handle,
    ) -> c_int;
}

/// `activation(convolution(x) + bias)`, all in one pass.
#[cfg(target_os = "linux")]
pub(super) fn convolution(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    geometry: Geometry,
    activation: Activation,
) -> Result<Tensor, TchError> {
    let Geometry { stride, padding, groups } = geometry;
    let activation = match activation {
        Activation::Linear => c"none",
        Activation::Relu => c"relu",
    };
    let bias = bias.map(handle);
    let mut result = ptr::null_mut();
    // SAFETY: the handles are those of tensors that live through the call, which reads them and keeps none; the lists
    // have the lengths given beside them, and an empty one may be null; `result` is written before 0 is returned.
    let failed = unsafe {
        aoti_torch_cpu_mkldnn__convolution_pointwise(
            handle(x),
            handle(weight),
            bias.as_ref().map_or(ptr::null(), ptr::from_ref),
            [padding; 2].as_ptr(),
            2,
            [stride; 2].as_ptr(),
            2,
            [1i64; 2].as_ptr(),
            2,
            groups,
            activation.as_ptr(),
            ptr::null(),
            0,
            ptr::null(),
            &mut result,
        )
    };
    owned(failed, result)
}

/// `sum + convolution(x) + bias`, written into `sum`.
#[cfg(target_os = "linux")]
pub(super) fn convolution_accumulate(
    x: &Tensor,
    sum: Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    geometry: Geometry,
) -> Result<Tensor, TchError> {
    const ADD: &CStr = c"add";
    let Geometry { stride, padding, groups } = geometry;
    let bias = bias.map(handle);
    let mut result = ptr::null_mut();
    // SAFETY: as in `convolution`; `sum` is owned here, so nobody else sees that it is overwritten.
    let failed = unsafe {
        aoti_torch_cpu_mkldnn__convolution_pointwise_binary_(
            handle(&sum),
            handle(x),
            handle(weight),
            bias.as_ref().map_or(ptr::null(), ptr::from_ref),
            [padding; 2].as_ptr(),
            2,
            [stride; 2].as_ptr(),
            2,
            [1i64; 2].as_ptr(),
            2,
            groups,
            ADD.as_ptr(),
            ptr::null(),
            ptr::null(),
            ptr::null(),
            0,
            ptr::null(),
            &mut result,
        )
    };
    owned(failed, result)
}

/// The pointer that C functions take for a tensor; it is valid as long as the tensor.
#[cfg(target_os = "linux")]
fn handle(tensor: &Tensor) -> Handle {
    tensor.as_ptr().cast_mut().cast()
}

/// Takes ownership of the result of a call that returned `failed`.
#[cfg(target_os = "linux")]
fn owned(failed: c_int, result: Handle) -> Result<Tensor, TchError> {
    if failed != 0 || result.is_null() {
        return Err(TchError::Torch("oneDNN could not run a convolution".to_owned()));
    }
    // SAFETY: a successful call hands over a new `at::Tensor`, which nobody else frees.
    Ok(unsafe { Tensor::from_ptr(result.cast()) })
}
