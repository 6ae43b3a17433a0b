//! From words to a tree.

use std::iter::Peekable;
use std::vec::IntoIter;

use serde_json::Value;

use super::scan::{Piece, Token, TokenKind};
use super::{DEPTH_MAX, Fault, functions};

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Text(String),
    /// Prints the value, unless the pipeline declares a variable.
    Print(Pipeline),
    If {
        condition: Pipeline,
        then: Vec<Node>,
        otherwise: Vec<Node>,
    },
    With {
        pipeline: Pipeline,
        body: Vec<Node>,
        otherwise: Vec<Node>,
    },
    Range {
        pipeline: Pipeline,
        body: Vec<Node>,
        otherwise: Vec<Node>,
    },
}

/// `$a, $b := command | command`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pipeline {
    pub(super) position: usize,
    /// The variables that get the value; two only in `range`.
    pub(super) variables: Vec<String>,
    /// Whether they are new ones.
    pub(super) declares: bool,
    pub(super) commands: Vec<Vec<Operand>>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Operand {
    pub(super) position: usize,
    pub(super) base: Base,
    /// Fields of the base, with their places.
    pub(super) fields: Vec<(usize, String)>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Base {
    Dot,
    Variable(String),
    Literal(Value),
    Function(functions::Function),
    Parenthesised(Box<Pipeline>),
}

/// What ended a list of nodes.
enum Ending {
    Source,
    End,
    Else { position: usize, rest: Vec<Token> },
}

pub(super) fn parse(pieces: Vec<Piece>) -> Result<Vec<Node>, Fault> {
    let mut parser = Parser { pieces: pieces.into_iter(), variables: vec![String::new()], depth: 0 };
    let mut nodes = Vec::new();
    match parser.nodes(&mut nodes)? {
        (_, Ending::Source) => Ok(nodes),
        (position, Ending::End) => Err(Fault::new(position, "`end` without a block to end")),
        (_, Ending::Else { position, .. }) => Err(Fault::new(position, "`else` outside of a block")),
    }
}

struct Parser {
    pieces: IntoIter<Piece>,
    /// The variables that are declared here; that with the empty name is `$`.
    variables: Vec<String>,
    depth: usize,
}

impl Parser {
    fn nodes(&mut self, nodes: &mut Vec<Node>) -> Result<(usize, Ending), Fault> {
        while let Some(piece) = self.pieces.next() {
            let (position, tokens) = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Piece::Action { position, tokens } => (position, tokens),
            };
            let keyword = match tokens.first() {
                Some(Token { kind: TokenKind::Word(word), .. }) => word.as_str(),
                Some(_) => "",
                None => return Err(Fault::new(position, "`{{}}` has no content")),
            };
            match keyword {
                "end" if tokens.len() == 1 => return Ok((position, Ending::End)),
                "else" => {
                    let position = tokens[0].position;
                    let rest = tokens.into_iter().skip(1).collect();
                    return Ok((position, Ending::Else { position, rest }));
                }
                "if" | "with" | "range" => {
                    let keyword = keyword.to_owned();
                    nodes.push(self.block(&keyword, position, tokens)?);
                }
                "end" => return Err(Fault::new(tokens[1].position, "`end` takes nothing")),
                "define" | "template" | "block" | "break" | "continue" => {
                    return Err(Fault::new(position, format!("`{keyword}` is not supported")));
                }
                _ => nodes.push(Node::Print(self.whole_pipeline(position, tokens, 1)?)),
            }
        }
        Ok((0, Ending::Source))
    }

    /// A block whose first action is `tokens`.
    fn block(&mut self, keyword: &str, position: usize, tokens: Vec<Token>) -> Result<Node, Fault> {
        self.enter(position)?;
        let scope = self.variables.len();
        let rest = tokens.into_iter().skip(1).collect();
        let pipeline = self.whole_pipeline(position, rest, if keyword == "range" { 2 } else { 1 })?;
        let mut body = Vec::new();
        let mut otherwise = Vec::new();
        match self.nodes(&mut body)?.1 {
            Ending::Source => return Err(Fault::new(position, format!("`{keyword}` has no `end`"))),
            Ending::End => {}
            Ending::Else { rest, .. } if rest.is_empty() => match self.nodes(&mut otherwise)?.1 {
                Ending::End => {}
                Ending::Source => return Err(Fault::new(position, format!("`{keyword}` has no `end`"))),
                Ending::Else { position, .. } => return Err(Fault::new(position, "a second `else` of one block")),
            },
            // The `end` of `else if` ends both.
            Ending::Else { position, rest } => match &rest[0].kind {
                TokenKind::Word(word) if word == keyword && keyword != "range" => {
                    otherwise.push(self.block(keyword, position, rest)?);
                }
                _ => {
                    return Err(Fault::new(rest[0].position, format!("`else` of `{keyword}` takes nothing like this")));
                }
            },
        }
        self.variables.truncate(scope);
        self.depth -= 1;
        Ok(match keyword {
            "if" => Node::If { condition: pipeline, then: body, otherwise },
            "with" => Node::With { pipeline, body, otherwise },
            _ => Node::Range { pipeline, body, otherwise },
        })
    }

    fn enter(&mut self, position: usize) -> Result<(), Fault> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Fault::new(position, format!("it is nested more than {DEPTH_MAX} deep")));
        }
        Ok(())
    }

    /// A pipeline that takes all tokens, with up to `variables_max` variables before it.
    fn whole_pipeline(&mut self, position: usize, tokens: Vec<Token>, variables_max: usize) -> Result<Pipeline, Fault> {
        let (variables, declares, count) = assignment(&tokens);
        if variables.len() > variables_max {
            return Err(Fault::new(tokens[0].position, "two variables are for `range` only"));
        }
        if !declares {
            for (name, token) in variables.iter().zip(&tokens) {
                self.declared(name, token.position)?;
            }
        }
        let mut tokens = tokens.into_iter().skip(count).collect::<Vec<_>>().into_iter().peekable();
        let pipeline = self.pipeline(position, &mut tokens)?;
        if let Some(token) = tokens.next() {
            return Err(Fault::new(token.position, "`)` without `(`"));
        }
        if declares {
            self.variables.extend(variables.iter().cloned());
        }
        Ok(Pipeline { variables, declares, ..pipeline })
    }

    /// Commands up to the end or a `)`.
    fn pipeline(&mut self, position: usize, tokens: &mut Peekable<IntoIter<Token>>) -> Result<Pipeline, Fault> {
        self.enter(position)?;
        let mut commands: Vec<Vec<Operand>> = Vec::new();
        loop {
            let mut operands = Vec::new();
            while let Some(token) = tokens.peek() {
                if matches!(token.kind, TokenKind::Pipe | TokenKind::Close) {
                    break;
                }
                operands.push(self.operand(tokens)?);
            }
            let at = tokens.peek().map_or(position, |token| token.position);
            if operands.is_empty() {
                return Err(Fault::new(at, "a value or function is missing here"));
            }
            let first = &operands[0];
            if !matches!(first.base, Base::Function(_)) && (operands.len() > 1 || !commands.is_empty()) {
                return Err(Fault::new(first.position, "only a function takes arguments"));
            }
            commands.push(operands);
            if tokens.next_if(|token| token.kind == TokenKind::Pipe).is_none() {
                self.depth -= 1;
                return Ok(Pipeline { position, variables: Vec::new(), declares: false, commands });
            }
        }
    }

    fn operand(&mut self, tokens: &mut Peekable<IntoIter<Token>>) -> Result<Operand, Fault> {
        let Some(token) = tokens.next() else { return Err(Fault::new(0, "a value is missing at the end")) };
        let position = token.position;
        let mut fields = Vec::new();
        let base = match token.kind {
            TokenKind::Dot => Base::Dot,
            TokenKind::Field(name) => {
                fields.push((position, name));
                Base::Dot
            }
            TokenKind::Variable(name) => {
                self.declared(&name, position)?;
                Base::Variable(name)
            }
            TokenKind::Literal(value) => Base::Literal(value),
            TokenKind::Word(name) => Base::Function(functions::find(&name).ok_or_else(|| {
                let known = functions::NAMES.iter().map(|(name, _)| *name);
                let near = bake_dockerfile::suggest(&name, known, true);
                let near = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
                Fault::new(position, format!("there is no function `{name}`{near}"))
            })?),
            TokenKind::Open => {
                let inner = self.pipeline(position, tokens)?;
                if tokens.next().is_none() {
                    return Err(Fault::new(position, "`(` is not closed"));
                }
                Base::Parenthesised(Box::new(inner))
            }
            TokenKind::Comma | TokenKind::Declare | TokenKind::Assign | TokenKind::Pipe | TokenKind::Close => {
                return Err(Fault::new(position, "a value or function is expected here"));
            }
        };
        while let Some(Token { position, kind: TokenKind::Field(_), spaced: false }) = tokens.peek() {
            let at = *position;
            if let Some(Token { kind: TokenKind::Field(name), .. }) = tokens.next() {
                fields.push((at, name));
            }
        }
        Ok(Operand { position, base, fields })
    }

    fn declared(&self, name: &String, position: usize) -> Result<(), Fault> {
        if self.variables.contains(name) {
            return Ok(());
        }
        Err(Fault::new(position, format!("there is no variable `${name}`")))
    }
}

/// `$a :=`, `$a, $b :=` or `$a =` at the start: the names, whether they are declared, and how many tokens that is.
fn assignment(tokens: &[Token]) -> (Vec<String>, bool, usize) {
    let kinds: Vec<&TokenKind> = tokens.iter().take(4).map(|token| &token.kind).collect();
    match kinds.as_slice() {
        [TokenKind::Variable(name), sign @ (TokenKind::Declare | TokenKind::Assign), ..] => {
            (vec![name.clone()], **sign == TokenKind::Declare, 2)
        }
        [
            TokenKind::Variable(first),
            TokenKind::Comma,
            TokenKind::Variable(second),
            sign @ (TokenKind::Declare | TokenKind::Assign),
        ] => (vec![first.clone(), second.clone()], **sign == TokenKind::Declare, 4),
        _ => (Vec::new(), false, 0),
    }
}
