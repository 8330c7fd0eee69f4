#include "node/dataset.h"

#include <ATen/ops/index_select.h>

#include "node/addon.h"
#include "node/convert.h"
#include "node/serial_section.h"

namespace cortorch::node {

DatasetHandle::DatasetHandle(const Napi::CallbackInfo& info) : Wrapped(info) {
  if (info.Length() == 0) return;  // subset() fills it
  guarded(info.Env(), [&] {
    const SerialSection serial;
    const Shape shape = shape_of(info[1]);
    TORCH_CHECK(!shape.empty(), "data set: the shape is empty");
    const int64_t outputs = info[3].As<Napi::Number>().Int64Value();
    const Shape target_shape = outputs > 0 ? Shape{shape[0], outputs} : Shape{shape[0]};
    hold(info.Env(), std::make_shared<Dataset>(tensor_from(info[0], shape), tensor_from(info[2], target_shape),
                                               info[4].As<Napi::Number>().Int64Value()));
  });
}

void DatasetHandle::hold(Napi::Env env, std::shared_ptr<const Dataset> dataset) {
  memory_.report(env, static_cast<int64_t>(dataset->images().nbytes() + dataset->targets().nbytes()));
  dataset_ = std::move(dataset);
}

std::shared_ptr<const Dataset> DatasetHandle::dataset() const {
  if (dataset_ == nullptr) throw CodedError("ERR_DISPOSED", "this data set was disposed of");
  return dataset_;
}

// subset(indices: BigInt64Array): a data set of copies of these examples, in this order.
Napi::Value DatasetHandle::subset(const Napi::CallbackInfo& info) {
  const SerialSection serial;
  const auto source = dataset();
  const at::Tensor indices =
      tensor_from(info[0], {static_cast<int64_t>(info[0].As<Napi::TypedArray>().ElementLength())});
  Napi::Object object = AddonData::of(info.Env()).dataset_class.New({});
  unwrap(object, "subset")
      .hold(info.Env(), std::make_shared<Dataset>(at::index_select(source->images(), 0, indices),
                                                  at::index_select(source->targets(), 0, indices), source->classes()));
  return object;
}

// batch(indices: BigInt64Array, normalization or null, augmentation, seed, epoch): the examples as a step of training
// sees them, a Float32Array.
Napi::Value DatasetHandle::batch(const Napi::CallbackInfo& info) {
  const SerialSection serial;
  const at::Tensor indices =
      tensor_from(info[0], {static_cast<int64_t>(info[0].As<Napi::TypedArray>().ElementLength())});
  const AugmentationSource source{augmentation_of(info[2].As<Napi::Object>()),
                                  static_cast<uint64_t>(info[3].As<Napi::Number>().Int64Value()),
                                  info[4].As<Napi::Number>().Uint32Value()};
  return typed_array_from(
      info.Env(),
      dataset()->gather(indices.const_data_ptr<int64_t>(), indices.numel(), normalization_of(info[1]), source).x);
}

Napi::Value DatasetHandle::dispose(const Napi::CallbackInfo& info) {
  dataset_ = nullptr;
  memory_.release();
  return info.Env().Undefined();
}

void define_dataset(Napi::Env env, Napi::Object exports) {
  const Napi::Function dataset_class = Napi::ObjectWrap<DatasetHandle>::DefineClass(
      env, "DatasetHandle",
      {DatasetHandle::method<&DatasetHandle::subset>("subset"), DatasetHandle::method<&DatasetHandle::batch>("batch"),
       DatasetHandle::method<&DatasetHandle::dispose>("dispose")});
  AddonData::of(env).dataset_class = Napi::Persistent(dataset_class);
  exports.Set("DatasetHandle", dataset_class);
}

}  // namespace cortorch::node
