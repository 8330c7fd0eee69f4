/** A reason and a remedy; null: the build has CUDA kernels. `kernels`: what CMake said of them, null before a build. */
export declare function whyNoKernels(
  libtorch: { readonly version: string; readonly path: string; readonly cuda: string | null },
  kernels: string | null,
  nvcc?: boolean,
): string | null;
