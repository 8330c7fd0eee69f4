// The locally connected map on a GPU: launches on raw device pointers, without ATen, so that nvcc compiles them
// in seconds. locally_connected2d_tensors.h has the same on tensors.
//
// Activations are location-major, [height, width, batch, channels]: what one tap of one patch needs is then a
// contiguous [batch, channels] matrix, and nothing is ever gathered into memory. Weights are contiguous
// [out_h, out_w, k_h, k_w, in, out], biases [out_h, out_w, out]. Results begin at multiples of 16 bytes; operands may
// begin anywhere, and are read faster if they do too and their channels are multiples of 16 bytes.
// Results do not depend on timing: every element is summed by one thread block in a fixed order.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "base/cuda/precision.h"
#include "maps/activation_kind.h"
#include "maps/conv2d_geometry.h"

namespace cortorch::cuda {

// Each returns the error of its launch; cudaErrorInvalidValue if a size does not fit the kernels' 32-bit indices
// (elements in one location's product and in the rows of images and weights that it meets, locations, thread blocks;
// whole tensors may be larger). Sizes of zero are the caller's business.

// y[oh, ow] = σ(Σ_taps x[ih, iw] · W[oh, ow, kh, kw] + bias[oh, ow]); `bias` may be null.
cudaError_t locally_connected2d_apply(const Conv2dGeometry& geometry, int64_t batch, Precision precision,
                                      const void* weight, const void* x, const void* bias, Activation activation,
                                      void* y, cudaStream_t stream);

// x[ih, iw] = σ(Σ y[oh, ow] · V[oh, ow, kh, kw]ᵀ + c[ih, iw]) over all (oh, ow, kh, kw) that see (ih, iw); `c` [h, w,
// in] may be null.
cudaError_t locally_connected2d_adjoint(const Conv2dGeometry& geometry, int64_t batch, Precision precision,
                                        const void* v, const void* y, const void* c, Activation activation, void* x,
                                        cudaStream_t stream);

// G[oh, ow, kh, kw] = x[ih, iw]ᵀ · δ[oh, ow], zero where the tap lies outside of the image.
cudaError_t locally_connected2d_outer(const Conv2dGeometry& geometry, int64_t batch, Precision precision, const void* x,
                                      const void* delta, void* gradient, cudaStream_t stream);

}  // namespace cortorch::cuda
