/* A view of an array whose elements are read as another type. TVM's wheel leaves this header out; of
 * it, tvm/runtime/metadata.h uses what is here. */
#ifndef TVM_SUPPORT_SPAN_H_
#define TVM_SUPPORT_SPAN_H_

#include <cstddef>

namespace tvm {
namespace support {

template <typename Stored, typename Read>
class Span {
 public:
  class iterator {
   public:
    explicit iterator(Stored* at) : at_(at) {}
    Read operator*() const { return Read(*at_); }
    iterator& operator++() {
      ++at_;
      return *this;
    }
    bool operator!=(const iterator& other) const { return at_ != other.at_; }

   private:
    Stored* at_;
  };

  Span(Stored* begin, Stored* end) : begin_(begin), end_(end) {}
  Span(Stored* begin, int count) : Span(begin, begin + count) {}
  iterator begin() const { return iterator(begin_); }
  iterator end() const { return iterator(end_); }
  std::size_t size() const { return static_cast<std::size_t>(end_ - begin_); }
  Read operator[](std::size_t place) const { return Read(begin_[place]); }

 private:
  Stored* begin_;
  Stored* end_;
};

}  // namespace support
}  // namespace tvm
#endif  // TVM_SUPPORT_SPAN_H_
