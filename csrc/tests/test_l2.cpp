// Dense search against a naive one.
#include "snvrag/l2.hpp"

#include <atomic>
#include <cstdint>
#include <limits>
#include <vector>

#include "testing.hpp"

namespace snvrag::testing {
namespace {

L2Search search_of(const Buffer<float>& queries, std::int64_t num_queries,
                   std::int64_t query_stride, const Buffer<float>& database, std::int64_t num_rows,
                   std::int64_t stride) {
  L2Search search;
  search.queries.data = queries.data();
  search.queries.num_rows = num_queries;
  search.queries.row_stride = query_stride;
  search.database.data = database.data();
  search.database.num_rows = num_rows;
  search.database.row_stride = stride;
  return search;
}

void test_vectors(std::int64_t num_rows, std::int64_t num_dimensions, std::int64_t num_queries) {
  const std::int64_t stride = num_dimensions + 3, query_stride = num_dimensions + 1;
  const auto size = [](std::int64_t rows, std::int64_t step, std::int64_t used) {
    return rows == 0 ? 0 : (rows - 1) * step + used;
  };
  const float nan = std::numeric_limits<float>::quiet_NaN();
  Buffer<float> database(size(num_rows, stride, num_dimensions), nan);
  Buffer<float> queries(size(num_queries, query_stride, num_dimensions), nan);
  // Small whole numbers: float32 sums are exact, so the answer is ==, ties included.
  Random random(static_cast<std::uint64_t>(num_rows * 1009 + num_dimensions));
  for (std::int64_t r = 0; r < num_rows; ++r) {
    for (std::int64_t d = 0; d < num_dimensions; ++d) {
      database[r * stride + d] = static_cast<float>(random.below(d < 6 ? 3 : 1));
    }
  }
  for (std::int64_t q = 0; q < num_queries; ++q) {
    for (std::int64_t d = 0; d < num_dimensions; ++d) {
      queries[q * query_stride + d] = static_cast<float>(random.below(3));
    }
  }
  const std::int64_t num_exclude = num_rows > 4 ? 2 : 0;
  Buffer<std::int64_t> exclude(num_queries * num_exclude);
  for (std::int64_t& index : exclude) index = random.below(num_rows + 1) - 1;

  for (std::int64_t k : {std::int64_t{1}, std::int64_t{8}, num_rows - num_exclude}) {
    if (k > num_rows - num_exclude) continue;
    for (int threads : {1, 2, 4}) {
      Buffer<float> distances(num_queries * k, nan);
      Buffer<std::int64_t> indices(num_queries * k, -7);
      L2Search search = search_of(queries, num_queries, query_stride, database, num_rows, stride);
      search.num_dimensions = num_dimensions;
      search.k = k;
      search.exclude.indices = exclude.data();
      search.exclude.num_columns = num_exclude;
      CHECK(topk_l2(search, threads, distances.data(), indices.data()) == L2Result::ok);
      bool same = true;
      for (std::int64_t q = 0; q < num_queries; ++q) {
        std::vector<double> naive(static_cast<std::size_t>(num_rows));
        for (std::int64_t r = 0; r < num_rows; ++r) {
          for (std::int64_t d = 0; d < num_dimensions; ++d) {
            const double difference =
                double{queries[q * query_stride + d]} - database[r * stride + d];
            naive[static_cast<std::size_t>(r)] += difference * difference;
          }
        }
        const auto expected = nearest(naive, k, exclude.data() + q * num_exclude, num_exclude);
        for (std::int64_t j = 0; j < k; ++j) {
          const auto& [distance, place] = expected[static_cast<std::size_t>(j)];
          same &= double{distances[q * k + j]} == distance && indices[q * k + j] == place;
        }
      }
      CHECK(same);
    }
  }
}

void test_l2_of_what_is_not_a_number() {
  for (int threads : {1, 2, 4}) {
    Buffer<float> database(70 * 17, 1.0f), query(17, 1.0f), distances(1);
    Buffer<std::int64_t> indices(1);
    L2Search wanted = search_of(query, 1, 17, database, 70, 17);
    wanted.num_dimensions = 17;
    wanted.k = 1;
    const auto search = [&](CancelFlag cancel) {
      return topk_l2(wanted, threads, distances.data(), indices.data(), cancel);
    };
    CHECK(search(nullptr) == L2Result::ok);
    CHECK(distances[0] == 0.0f && indices[0] == 0);
    database[69 * 17 + 16] = std::numeric_limits<float>::quiet_NaN();
    CHECK(search(nullptr) == L2Result::not_a_number);
    database[69 * 17 + 16] = std::numeric_limits<float>::infinity();
    CHECK(search(nullptr) == L2Result::ok);
    std::atomic<bool> cancel{true};
    CHECK(search(&cancel) == L2Result::cancelled);
  }
  CHECK(topk_l2(L2Search{}, 4, nullptr, nullptr) == L2Result::ok);
}

}  // namespace

void test_l2() {
  for (std::int64_t rows : {1, 3, 31, 32, 33, 100}) {
    for (std::int64_t dimensions : {0, 1, 3, 15, 16, 17, 33}) test_vectors(rows, dimensions, 5);
  }
  for (std::int64_t dimensions : {1023, 1024, 1025, 3000}) test_vectors(7, dimensions, 9);
  // Enough dimensions for first thresholds to be estimated and for rows to be rejected early.
  test_vectors(200, 16384, 3);
  test_vectors(131, 20001, 7);
  test_l2_of_what_is_not_a_number();
}

}  // namespace snvrag::testing
