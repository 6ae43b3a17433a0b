x = ["a","b"]
target "default" {
  args = { a = x.1, b = x[0], c = [[1,2],[3]][*][0] == [1,3] }
}
