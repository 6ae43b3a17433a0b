# c
// d
/* e
*/
target "default" { # x
  tags = [ # y
    "a", // z
    "b",
  ]
}
