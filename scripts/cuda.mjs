/** Why a build has no CUDA kernels, and what helps: the words of `cortorch doctor` and of errors alike. */

const NO_NVCC = 'there is no nvcc: put it on PATH, or name it with CUDACXX'; // as CMakeLists.txt says it

/**
 * @param {{ version: string, path: string, cuda: string | null }} libtorch
 * @param {string | null} kernels what CMake said of them (`built by … for …`, `none: …`); null: nothing is built yet
 * @param {boolean} [nvcc] whether it is there: asked where nothing is built yet
 * @returns {string | null} a reason and a remedy; null: it has them
 */
export function whyNoKernels({ version, path, cuda }, kernels, nvcc = true) {
  if (!cuda) {
    return (
      `libtorch ${version} (${path}) is a CPU build; use a CUDA one (pip install torch, or LIBTORCH=DIR of an ` +
      'unpacked one), then: npx cortorch setup'
    );
  }
  if (kernels?.startsWith('built')) return null;
  const it = `libtorch ${version} is ${cuda === 'unknown' ? 'a CUDA build' : `for CUDA ${cuda}`}`;
  if (kernels === null && nvcc) return `${it}, but nothing is built yet; run npx cortorch setup`;
  const reason = kernels?.replace(/^none: /, '') ?? NO_NVCC;
  const toolkit = cuda === 'unknown' ? 'cuda-toolkit' : `cuda-toolkit-${cuda.replace('.', '-')}`;
  const remedy = reason.startsWith('there is no nvcc')
    ? `install CUDA's compiler (apt-get install ${toolkit}, see docs/gpu.md)`
    : 'put that right (see docs/gpu.md)';
  return `${it}, but its CUDA kernels are not built: ${reason}; ${remedy}, then: npx cortorch setup`;
}
